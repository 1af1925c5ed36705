import EdgeKit
import Foundation

// Checks, told one by one where they fail: `golden GOLDEN TOKENIZER`, `vocabularies GOLDEN ASSETS`, `folders APP PLACE`.
// `turns APP`, `answers GOLDEN APP PLACE`, `model TOLD APP PLACE`, `sees APP PLACE PPM PPM`. TOLD is a file of what `edge` answers, GOLDEN is apps/golden, APP a folder
// that `edge app` wrote, PLACE one for what is made.

let words = Array(CommandLine.arguments.dropFirst())
let places = words.dropFirst().map { URL(fileURLWithPath: $0) }
let checks = Checks()
switch (words.first, places.count) {
case ("golden", 2):
    let golden = Golden(folder: places[0])
    checks.jsonTexts()
    try checks.texts(golden, places[1])
    try checks.rules(golden)
    try checks.chats(golden, places[1])
    try checks.core(golden)
    try checks.pictures(golden)
    try checks.hostile(golden)
    await checks.chatModel()
case ("vocabularies", 2): try checks.vocabularies(Golden(folder: places[0]), places[1])
case ("folders", 2):
    try checks.folders(places[0], places[1])
    try await checks.shelf(places[0], places[1])
case ("turns", 1): await checks.turns(places[0])
case ("answers", 3): try await checks.answers(Golden(folder: places[0]), places[1], places[2])
case ("model", 3): try await checks.model(json(places[0]), places[1], places[2])
case ("sees", 4): await checks.sees(places[0], places[1], Array(places[2...]))
default:
    print("which checks? golden, vocabularies, folders, turns, answers, model or sees, and their paths")
    exit(2)
}
if !checks.end() { exit(1) }
