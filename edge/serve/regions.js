"use strict"
// Regions of pictures: drawn beside the words of an answer, and marked by whoever asks. A box is left, top, right and bottom in
// pixels of the upright picture. What a model says is only ever text here, too.

// The first of edge/vision/palette.py, each with the ink that is legible on it.
const COLOURS = [
  ["#ff00ff", "#000000"],
  ["#00e800", "#000000"],
  ["#00748b", "#ffffff"],
  ["#ff7400", "#000000"],
  ["#a2d1ff", "#000000"],
  ["#7400ff", "#ffffff"],
  ["#b9005d", "#ffffff"],
  ["#74a246", "#000000"],
  ["#a274d1", "#000000"],
  ["#d1d174", "#000000"],
  ["#8b5d17", "#ffffff"],
  ["#ff8bd1", "#000000"],
]
const LEAST = 2  // pixels of a side, as the server wants them

function paint(shown, number) {
  const [tone, ink] = COLOURS[(number - 1) % COLOURS.length]
  shown.dataset.number = number
  shown.style.setProperty("--tone", tone)
  shown.style.setProperty("--ink-on", ink)
}

function lay(shown, [left, top, right, bottom], { width, height }) {
  shown.style.left = 100 * left / width + "%"
  shown.style.top = 100 * top / height + "%"
  shown.style.width = 100 * (right - left) / width + "%"
  shown.style.height = 100 * (bottom - top) / height + "%"
}

const area = ([left, top, right, bottom]) => (right - left) * (bottom - top)

// A picture, and on it boxes with their numbers: [[number, box], …].
function framed({ url, width, height }, boxes, parent) {
  const frame = make("div", "framed", "", parent)
  picture(url, frame)
  if (!width || !boxes.length) return frame
  frame.firstChild.alt = `A picture, and ${boxes.length} regions in it`
  // Of two of which one lies in the other, the small one is reached.
  for (const [number, box] of [...boxes].sort((a, b) => area(b[1]) - area(a[1]))) {
    const shown = make("span", "region", "", frame)
    shown.setAttribute("aria-hidden", "true")  // the words have them all
    paint(shown, number)
    lay(shown, box, { width, height })
    make("span", "number", number, shown)
  }
  return frame
}

const numbered = boxes => boxes.map((box, i) => [i + 1, box])

// Pixels as the server counts them, whatever the file says of its density; none of a file that is no picture.
async function sized(file) {
  try {
    const bitmap = await createImageBitmap(file)
    const { width, height } = bitmap
    bitmap.close()
    return { width, height }
  } catch {
    return { width: 0, height: 0 }
  }
}

// Phrases in the order of the text, none over another, their places as JavaScript counts: a server counts an emoji once.
function phrases(text, said, seen) {
  const places = [0]
  for (const letter of text) places.push(places.at(-1) + letter.length)
  const place = at => places[Math.min(Math.max(Number.isInteger(at) ? at : 0, 0), places.length - 1)]
  const found = new Map()
  for (const one of said) {
    const at = one.picture ?? seen.length - 1, size = seen[at]
    if (!size?.width || !Array.isArray(one.boxes)) continue
    const boxes = one.boxes
      .filter(box => Array.isArray(box) && box.length === 4 && box.every(Number.isFinite))
      .map(([left, top, right, bottom]) => [
        Math.min(Math.max(left, 0), size.width), Math.min(Math.max(top, 0), size.height),
        Math.min(Math.max(right, 0), size.width), Math.min(Math.max(bottom, 0), size.height)])
      .filter(([left, top, right, bottom]) => left <= right && top <= bottom)
    if (!boxes.length) continue
    const start = place(one.start), end = Math.max(place(one.end), start)
    const key = [start, end, at, start === end ? one.phrase : ""].join()
    const known = found.get(key) ?? { start, end, at, name: String(one.phrase ?? ""), boxes: [] }
    known.boxes.push(...boxes)
    found.set(key, known)
  }
  let last = 0
  return [...found.values()].sort((a, b) => a.start - b.start || b.end - a.end).map(one => {
    if (one.start < last) one.start = one.end = last  // it has words that another has: its number alone
    last = one.end
    return one
  })
}

const described = ([left, top, right, bottom]) =>
  `from ${Math.round(left)}, ${Math.round(top)} to ${Math.round(right)}, ${Math.round(bottom)}`

// An answer's words, those of regions as buttons, and beside them the pictures with their boxes.
function point(shown, p, text, said, seen) {
  const found = phrases(text, said, seen)
  if (!found.length) return
  p.replaceChildren()
  let at = 0
  found.forEach(({ start, end, name, boxes }, i) => {
    p.append(text.slice(at, start))
    const button = make("button", "phrase", text.slice(start, end), p)
    button.type = "button"
    button.setAttribute("aria-pressed", "false")
    if (start === end) button.setAttribute("aria-label", `${name || "Region"} ${i + 1}`)
    button.setAttribute("aria-description", "In the picture " + boxes.map(described).join("; "))
    paint(button, i + 1)
    at = end
  })
  p.append(text.slice(at))
  shown.classList.add("pointing")
  for (const number of [...new Set(found.map(one => one.at))].sort((a, b) => a - b)) {
    const boxes = found.flatMap((one, i) => one.at === number ? one.boxes.map(box => [i + 1, box]) : [])
    framed(seen[number], boxes, make("figure", "", "", shown))
  }
  picking(shown)
}

// Whose boxes stand out: of what is under the mouse, or else in focus, or else was clicked on.
function picking(shown) {
  let over = null, focus = null, pinned = null
  const numberOf = event => event.target.closest("[data-number]")?.dataset.number ?? null
  const show = () => {
    const number = over ?? focus ?? pinned
    shown.classList.toggle("picking", number !== null)
    for (const one of shown.querySelectorAll("[data-number]")) one.classList.toggle("picked", one.dataset.number === number)
    for (const one of shown.querySelectorAll(".phrase")) one.setAttribute("aria-pressed", one.dataset.number === pinned)
  }
  shown.addEventListener("pointerover", event => {
    over = numberOf(event)
    show()
  })
  shown.addEventListener("pointerleave", () => {
    over = null
    show()
  })
  shown.addEventListener("focusin", event => {
    focus = event.target.matches(":focus-visible") ? numberOf(event) : null
    show()
  })
  shown.addEventListener("focusout", () => {
    focus = null
    show()
  })
  shown.addEventListener("click", event => {
    const number = numberOf(event)
    if (number === null) return
    pinned = pinned === number ? null : number
    show()
    if (pinned) shown.querySelector(`.region[data-number="${pinned}"]`).scrollIntoView({ block: "nearest" })
  })
}

// Marks regions of a picture, whose boxes they become. `room`: how many more; `done`: called once the dialog is closed.
function mark(marked, room, done) {
  const dialog = $("marking"), stage = $("stage")
  const { width, height, boxes } = marked
  const most = boxes.length + room
  let current = boxes.length - 1, begun = null
  stage.replaceChildren()
  const frame = framed(marked, [], stage)
  // A small picture is enlarged, a large one wholly seen.
  frame.firstChild.style.width = `min(max(${width}px, 20rem), 42rem, 100vw - 4rem, ${58 * width / height}dvh)`

  const say = words => $("marking-said").textContent = words
  const button = i => frame.querySelectorAll("button")[i]
  function show() {
    for (const old of frame.querySelectorAll("button")) old.remove()
    boxes.forEach((box, i) => {
      const shown = make("button", "region", "", frame)
      shown.type = "button"
      paint(shown, i + 1)
      lay(shown, box, marked)
      shown.setAttribute("aria-label", `Region ${i + 1}, ${described(box)}`)
      make("span", "number", i + 1, shown)
      shown.addEventListener("focus", () => current = i)
    })
    $("marking-add").disabled = boxes.length >= most
    $("marking-remove").disabled = !boxes.length
  }
  function choose(i) {
    current = i
    say("")
    button(i)?.focus()
  }
  function add(box) {
    boxes.push(box)
    show()
    choose(boxes.length - 1)
  }
  function remove(i) {
    if (!boxes[i]) return
    boxes.splice(i, 1)
    show()
    say(`Region ${i + 1} is removed.`)
    current = Math.min(i, boxes.length - 1)
    ;(button(current) ?? $("marking-add")).focus()
  }

  const full = () => say(`No more than ${most} regions: remove one first.`)
  function at(event) {
    const { left, top, width: wide, height: high } = frame.getBoundingClientRect()
    const part = x => Math.min(Math.max(x, 0), 1)
    return [part((event.clientX - left) / wide) * width, part((event.clientY - top) / high) * height]
  }
  const between = ([x, y], [u, v]) => [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)].map(Math.round)
  const large = ([left, top, right, bottom]) => Math.min(right - left, bottom - top) >= LEAST
  function end(event, kept) {
    if (event.pointerId !== begun?.id) return
    const { from, sketch, x, y } = begun, box = between(from, at(event))
    begun = null
    sketch.remove()
    if (!kept) return
    const moved = Math.hypot(event.clientX - x, event.clientY - y) > 4
    if (moved && large(box)) return boxes.length < most ? add(box) : full()
    const inside = boxes.map((one, i) => [one, i]).filter(([[left, top, right, bottom]]) =>
      left <= from[0] && from[0] <= right && top <= from[1] && from[1] <= bottom)
    if (inside.length) choose(inside.sort((a, b) => area(a[0]) - area(b[0]))[0][1])
  }
  stage.onpointerdown = event => {
    if (begun || event.button) return  // one finger, one button
    event.preventDefault()
    stage.setPointerCapture(event.pointerId)
    const sketch = make("span", "region", "", frame)
    paint(sketch, boxes.length + 1)
    begun = { id: event.pointerId, from: at(event), x: event.clientX, y: event.clientY, sketch }
    lay(sketch, between(begun.from, begun.from), marked)
  }
  stage.onpointermove = event => {
    if (event.pointerId === begun?.id) lay(begun.sketch, between(begun.from, at(event)), marked)
  }
  stage.onpointerup = event => end(event, true)
  stage.onpointercancel = event => end(event, false)
  stage.onkeydown = event => {
    const i = [...frame.querySelectorAll("button")].indexOf(event.target)
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
    if (i < 0) return
    if (event.key === "Delete" || event.key === "Backspace") remove(i)
    else if (ways[event.key]) step(i, ways[event.key], event.shiftKey)
    else return
    event.preventDefault()
  }
  function step(i, ways, grows) {
    const box = boxes[i], sides = [width, height]
    ways.forEach((way, axis) => {
      const by = way * Math.max(1, Math.round(sides[axis] / 50)), low = box[axis], high = box[axis + 2]
      if (grows) box[axis + 2] = Math.min(Math.max(high + by, low + LEAST), sides[axis])
      else {
        box[axis] = Math.min(Math.max(low + by, 0), sides[axis] - (high - low))
        box[axis + 2] = box[axis] + high - low
      }
    })
    show()
    choose(i)
  }
  $("marking-add").onclick = () => {
    const [left, top] = [width, height].map(side => Math.floor(side / 4))
    add([left, top, Math.max(left + LEAST, Math.ceil(width * 3 / 4)), Math.max(top + LEAST, Math.ceil(height * 3 / 4))])
  }
  $("marking-remove").onclick = () => remove(current)
  dialog.onclose = () => done()
  say("")
  show()
  dialog.showModal()
}
