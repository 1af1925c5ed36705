// The folder that `edge app` writes: read from anywhere that gives files by name, and refused where it is not whole.

export const APP = "app.json";
const SCHEMA = 1;
const MOST = 64 << 20; // bytes of app.json and of tokenizer.json
const NAME = /^(?!.*(^|\/)\.\.?(\/|$))[\w][\w.\- ]*(\/[\w][\w.\- ]*)*$/; // below the folder, and nowhere else

export class Refused extends Error {}

/** `read`: name -> Blob or File, or null -> the description, checked, with a way to its files. */
export async function opened(read) {
  const app = await json(read, APP);
  if (app?.schema !== SCHEMA) throw new Refused(`${APP} is of schema ${app?.schema}, and this app reads ${SCHEMA}`);
  const decoder = app.decoder ?? {};
  need(app.modules && typeof app.modules === "object", "it names no modules");
  need(whole(decoder.vocab) && whole(decoder.context) && Array.isArray(decoder.layers), "it says no decoder's sizes");
  need(decoder.layers.length > 0 && decoder.layers.length <= 1024, "its decoder has no layers, or too many");
  need(decoder.layers.every((layer) => whole(layer.kv_heads) && whole(layer.head_width)), "a layer has no size");
  need(Array.isArray(app.stop) && app.stop.every((id) => Number.isInteger(id) && id >= 0), "its stop ids are none");
  const files = [app.tokenizer, ...Object.values(app.modules).flatMap((module) => module.files ?? [])];
  for (const file of files) {
    need(typeof file?.name === "string" && NAME.test(file.name), `${String(file?.name).slice(0, 60)} is no name of a file`);
    need(Number.isInteger(file.bytes) && file.bytes >= 0 && /^[0-9a-f]{64}$/.test(file.sha256), `${file.name} has no size and hash`);
  }
  return { app, files, bytes: files.reduce((sum, file) => sum + file.bytes, 0), read };
}

/** A file of it as an ArrayBuffer, of the size and the hash that app.json says. */
export async function checked(folder, name) {
  const told = folder.files.find((file) => file.name === name);
  if (!told) throw new Refused(`${APP} names no file ${name}`);
  const blob = await folder.read(name);
  if (!blob) throw new Refused(`the file ${name} is missing: get the model again`);
  if (blob.size !== told.bytes) throw new Refused(`${name} has ${blob.size} bytes and should have ${told.bytes}: get it again`);
  const data = await blob.arrayBuffer();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== told.sha256) throw new Refused(`${name} is damaged: its hash is not what ${APP} says. Get it again`);
  return data;
}

/** The content of a tokenizer.json, checked. */
export async function tokenizerOf(folder) {
  need(folder.app.tokenizer.bytes <= MOST, "its tokenizer.json is larger than any");
  return parsed(new TextDecoder().decode(await checked(folder, folder.app.tokenizer.name)), folder.app.tokenizer.name);
}

/** Bytes that a run of so many tokens needs: told for some lengths, and even between them. */
export function memory(app, tokens) {
  const told = app.memory;
  const above = told.findIndex((one) => one.tokens >= tokens);
  if (above <= 0) return told.at(above).bytes;
  const [low, high] = [told[above - 1], told[above]];
  return low.bytes + ((high.bytes - low.bytes) * (tokens - low.tokens)) / (high.tokens - low.tokens);
}

async function json(read, name) {
  const blob = await read(name);
  if (!blob) throw new Refused(`there is no ${name}: choose a folder that \`edge app\` wrote`);
  if (blob.size > MOST) throw new Refused(`${name} has ${blob.size} bytes: it is no description of a model`);
  return parsed(await blob.text(), name);
}

function parsed(text, name) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused(`${name} is no JSON: ${String(error.message).slice(0, 120)}`);
  }
}

function need(right, problem) {
  if (!right) throw new Refused(`${APP} cannot be used: ${problem}`);
}

function whole(number) {
  return Number.isInteger(number) && number >= 1 && number <= 1 << 24;
}
