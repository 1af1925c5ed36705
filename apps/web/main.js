// What is on the screen, and what happens when it is used.

import { memory, opened } from "./core/folder.js";
import { add, mb, names, offered, reader, remove } from "./store.js";

const $ = (id) => document.getElementById(id);
const USUAL = 4096; // tokens of a conversation that must fit
const MOST = 2 ** 32; // bytes: WebAssembly has no more, whatever the device has
let worker, messages = [], reply = null, attached = null, busy = false, ready = false;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function show() {
  $("prompt").disabled = !ready;
  $("send").disabled = !ready;
  $("send").textContent = busy ? "Stop" : "Send";
  $("delete").disabled = !$("models").value || busy;
  $("clear").disabled = busy;
  $("models").disabled = busy;
  $("snapkv").disabled = busy || !cuts;
  $("gpu").disabled = busy;
}

function line(role, text) {
  const made = document.createElement("p");
  made.className = role;
  made.textContent = text;
  $("log").append(made);
  $("log").scrollTop = $("log").scrollHeight;
  return made;
}

function started() {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => told[data.type](data);
  worker.onerror = (event) => told.failed({ problem: event.message || "the model's worker could not start" });
}

const told = {
  opened({ name, note, context, sampling }) {
    ready = true;
    $("temperature").value = sampling.temperature;
    sampled = sampling;
    say(`${name} is ready: it reads ${context} tokens.${note && ` On the processor: ${note}.`}`);
    show();
    $("prompt").focus();
  },
  piece({ text }) {
    reply.textContent += text;
    $("log").scrollTop = $("log").scrollHeight;
  },
  done({ tokens, ending, firstSeconds, tokensPerSecond, prompt }) {
    messages.push({ role: "assistant", content: reply.textContent });
    busy = false;
    $("speed").textContent = `${prompt} tokens read, first word after ${firstSeconds.toFixed(2)} s, ${tokens.length} tokens, ${tokensPerSecond.toFixed(1)} a second`;
    say({ length: "The answer is long and was cut.", context: "The conversation fills all that the model can read: begin a new chat.", cancelled: "Stopped." }[ending] ?? "");
    show();
  },
  failed({ of, problem }) {
    if (of === "say") {
      messages.pop();
      if (reply && !reply.textContent) reply.remove();
    } else ready = false;
    busy = false;
    say(problem, true);
    show();
  },
};
let sampled = {};
let cuts = false; // whether the model's cache can be cut

/** Fill the list of models, and open one. */
async function listed(chosen) {
  const found = await names();
  $("models").replaceChildren(...found.map((name) => new Option(name, name, false, name === chosen)));
  if (!found.length) {
    ready = false;
    say("Add the folder that `edge app` wrote, or drop it here. It stays on this device.");
  } else await openModel();
  show();
}

async function openModel() {
  const name = $("models").value;
  ready = false;
  forget();
  show();
  const { app } = await opened(await reader(name));
  cuts = Boolean(app.decoder.rotary) && app.modules.text.files.some((file) => file.name === "text/flexible.onnx");
  const needed = memory(app, Math.min(USUAL, app.decoder.context));
  const there = Math.min(MOST, (navigator.deviceMemory ?? Infinity) * 2 ** 30);
  if (needed > there) {
    say(`${name} needs ${mb(needed)} of memory, and a page on this device has at most ${mb(there)}: choose a smaller one.`, true);
    return;
  }
  say(`Opening ${name}: it needs ${mb(needed)} of memory.`);
  worker.postMessage({ type: "open", name, snapkv: cuts && $("snapkv").checked, gpu: $("gpu").checked });
}

async function added(files) {
  try {
    const name = await add(async (file) => files.get(file) ?? null, say);
    await listed(name);
  } catch (error) {
    say(error.message, true);
  }
  show();
}

function forget() {
  messages = [];
  $("log").replaceChildren();
  $("speed").textContent = "";
}

function send() {
  if (busy) return worker.postMessage({ type: "stop" });
  const text = $("prompt").value;
  if (!text.trim() || !ready) return;
  const content = attached ? `${attached.text}\n\n${text}` : text;
  messages.push({ role: "user", content });
  line("user", attached ? `${attached.name}\n${text}` : text);
  reply = line("assistant", "");
  attach(null);
  $("prompt").value = "";
  busy = true;
  say("");
  show();
  worker.postMessage({ type: "say", messages, sampling: { ...sampled, temperature: Number($("temperature").value) } });
}

function attach(one) {
  attached = one;
  $("document").hidden = !one;
  if (one) $("document").firstElementChild.textContent = `${one.name}: ${one.text.length} letters`;
}

/** Files of a dropped folder, by their names below it. */
async function below(entry, prefix, found) {
  if (entry.isFile) {
    found.set(prefix + entry.name, await new Promise((good, bad) => entry.file(good, bad)));
    return;
  }
  const all = entry.createReader();
  for (;;) {
    const some = await new Promise((good, bad) => all.readEntries(good, bad));
    if (!some.length) return;
    for (const one of some) await below(one, `${prefix}${entry.name}/`, found);
  }
}

function inFolder(files) {
  return new Map([...files].map(([name, file]) => [name.split("/").slice(1).join("/"), file]));
}

$("folder").onchange = (event) => {
  added(inFolder(Array.from(event.target.files, (file) => [file.webkitRelativePath, file])));
  event.target.value = "";
};
$("models").onchange = $("snapkv").onchange = $("gpu").onchange = () => openModel().catch((error) => say(error.message, true));
$("delete").onclick = async () => {
  const name = $("models").value;
  if (!confirm(`Delete ${name} from this device?`)) return;
  started();
  await remove(name);
  await listed();
};
$("clear").onclick = () => {
  forget();
  $("prompt").focus();
};
$("document").lastElementChild.onclick = () => attach(null);
$("form").onsubmit = (event) => {
  event.preventDefault();
  send();
};
$("prompt").onkeydown = (event) => {
  // 229: a letter that is being composed; Safari ends the composition before it tells of Enter (WebKit 165004).
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
    event.preventDefault();
    send();
  }
  if (event.key === "Escape" && busy) send();
};
document.body.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("over");
};
document.body.ondragleave = () => document.body.classList.remove("over");
document.body.ondrop = async (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [entry] = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry());
  if (!entry) return;
  const found = new Map();
  await below(entry, "", found);
  if (entry.isDirectory) return added(inFolder(found));
  const file = found.get(entry.name);
  if (file.size > 1 << 20) return say(`${file.name} is longer than a model can read: drop a text of at most 1 MB.`, true);
  attach({ name: file.name, text: new TextDecoder().decode(await file.arrayBuffer()) });
};

started();
offered(say).then(listed).catch((error) => say(error.message, true));
if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js");
