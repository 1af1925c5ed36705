// What the official JavaScript client gets of two servers, as one JSON object: URL, and URL of a slow one
// that answers one request at a time.
import OpenAI from "openai"
import { zodResponseFormat } from "openai/helpers/zod"
import { z } from "zod"

const [url, slow] = process.argv.slice(2)
const at = (base, maxRetries = 0) => new OpenAI({ baseURL: base + "/v1", apiKey: "x", maxRetries })
const client = at(url)
const messages = [{ role: "user", content: "Lily found a ball." }]
const ask = { model: "it", messages, temperature: 0, max_tokens: 24 }
const form = zodResponseFormat(z.object({ who: z.enum(["Lily", "Tom"]) }), "who")

async function chat() {
  const found = await client.chat.completions.create(ask)
  return found.choices[0]
}

async function pieces() {
  const deltas = []
  let usage = null
  const options = { stream: true, stream_options: { include_usage: true } }
  for await (const chunk of await client.chat.completions.create({ ...ask, ...options })) {
    deltas.push(...chunk.choices.map((choice) => choice.delta))
    usage = chunk.usage
  }
  return { roles: deltas.map((delta) => delta.role ?? null), text: deltas.map((delta) => delta.content ?? "").join(""), usage }
}

async function helper() {
  let grown = 0
  const stream = client.chat.completions.stream({ ...ask, max_tokens: 64, stop: ["."] })
  stream.on("content.delta", () => grown++)
  return { message: await stream.finalMessage(), grown }
}

async function parsing() {
  const whole = await client.chat.completions.parse({ ...ask, max_tokens: 64, response_format: form })
  const stream = client.chat.completions.stream({ ...ask, max_tokens: 64, response_format: form })
  return { whole: whole.choices[0].message.parsed, streamed: (await stream.finalMessage()).parsed }
}

// An answer as the client keeps it, beside the same text alone.
async function backAgain() {
  const kept = (await client.chat.completions.parse({ ...ask, max_tokens: 64, response_format: form })).choices[0].message
  const said = await Promise.all([kept, { role: "assistant", content: kept.content }].map((message) =>
    client.chat.completions.create({ ...ask, messages: [...messages, message, ...messages] })))
  return said.map((found) => found.choices[0].message.content)
}

async function errors() {
  const wrong = [
    client.models.retrieve("other"),
    client.embeddings.create({ model: "it", input: "x" }),
    client.chat.completions.create({ ...ask, tools: [{ type: "function", function: { name: "f" } }] }),
    client.chat.completions.create({ ...ask, max_tokens: 100000, stream: true }),
  ]
  const found = await Promise.allSettled(wrong)
  return found.map(({ reason }) => [reason.constructor.name, reason.code, reason.param])
}

// One request takes the only place; the other is refused, unless it comes again as it is told to.
async function retries() {
  const long = { ...ask, max_tokens: 40, stream: true }
  const first = (await at(slow).chat.completions.create(long))[Symbol.asyncIterator]()
  await first.next()
  const refused = await at(slow).chat.completions.create({ ...ask, max_tokens: 1 }).catch((error) => error)
  const later = at(slow, 3).chat.completions.create({ ...ask, max_tokens: 1 })
  while (!(await first.next()).done);
  return { status: refused.status, wait: refused.headers?.get("retry-after"), ending: (await later).choices[0].finish_reason }
}

// A client that aborts leaves the model to the next.
async function leaving() {
  const stop = new AbortController()
  const stream = await at(slow).chat.completions.create({ ...ask, max_tokens: 400, stream: true }, { signal: stop.signal })
  for await (const _ of stream) break
  stop.abort()
  const start = performance.now()
  await at(slow, 3).completions.create({ model: "it", prompt: "Tom", max_tokens: 1 })
  return (performance.now() - start) / 1000
}

const found = {}
for (const part of [chat, pieces, helper, parsing, backAgain, errors, retries, leaving]) found[part.name] = await part()
console.log(JSON.stringify(found))
