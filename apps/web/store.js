// Models in the browser's private file system: a folder each, whose app.json is written last.

import { APP, checked, opened, Refused } from "./core/folder.js";

async function root() {
  const home = await navigator.storage.getDirectory();
  return home.getDirectoryHandle("models", { create: true });
}

/** Names of the models that are whole. */
export async function names() {
  const found = [];
  for await (const [name, handle] of (await root()).entries()) {
    if (handle.kind === "directory" && (await fileOf(handle, APP))) found.push(name);
  }
  return found.sort();
}

/** A way to the files of a model that was added. */
export async function reader(name) {
  const folder = await (await root()).getDirectoryHandle(name);
  return (file) => fileOf(folder, file);
}

/** The model that the page's own server offers, added unless it is here already: its name. None is offered where
 * the page lies on a plain server, or while there is no network. */
export async function offered(say) {
  let folder;
  try {
    ({ folder } = await (await fetch("offered.json")).json());
  } catch {
    return null;
  }
  if (!folder) return null;
  const read = async (file) => {
    const answer = await fetch(`${folder}/${file.split("/").map(encodeURIComponent).join("/")}`);
    return answer.ok ? answer.blob() : null;
  };
  const said = await (await read(APP))?.text();
  for (const name of await names()) {
    if ((await (await (await reader(name))(APP)).text()) === said) return name;
  }
  return add(read, say);
}

/** One tab at a time changes what is kept. */
function alone(work) {
  return navigator.locks.request("edge-models", work);
}

/** Check every file of a folder against its app.json and keep them; `read`: name -> File. Returns its name. */
export function add(read, say) {
  return alone(() => added(read, say));
}

export function remove(name) {
  return alone(() => removed(name));
}

async function added(read, say) {
  const whole = await names();
  for await (const name of (await root()).keys()) if (!whole.includes(name)) await removed(name); // a closed tab's
  const folder = await opened(read);
  const { quota = Infinity, usage = 0 } = await navigator.storage.estimate();
  if (folder.bytes > quota - usage) {
    throw new Refused(`the model takes ${mb(folder.bytes)}, and this browser has room for ${mb(quota - usage)}: delete another one first`);
  }
  const recipe = Object.values(folder.app.modules).at(-1).recipe;
  const first = `${folder.app.name}-${recipe}`.replace(/[^\w.-]/g, "-").slice(0, 100);
  const [old, name] = whole.includes(first) ? [first, `${first}.2`] : [`${first}.2`, first]; // until the new one is whole
  const place = await (await root()).getDirectoryHandle(name, { create: true });
  try {
    let done = 0;
    for (const file of folder.files) {
      say(`Checking ${file.name}: ${mb(done)} of ${mb(folder.bytes)}`);
      await write(place, file.name, await checked(folder, file.name));
      done += file.bytes;
    }
    await write(place, APP, await (await read(APP)).arrayBuffer());
  } catch (error) {
    await removed(name);
    if (error.name === "QuotaExceededError") {
      throw new Refused(`this browser has no room for ${mb(folder.bytes)}: delete another model, free space on the disk, or leave the private window`);
    }
    throw error;
  }
  await removed(old);
  await navigator.storage.persist?.(); // else a browser in need of space may drop it
  return name;
}

async function removed(name) {
  try {
    await (await root()).removeEntry(name, { recursive: true });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
}

export function mb(bytes) {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

async function write(folder, name, data) {
  const path = name.split("/");
  const last = path.pop();
  for (const part of path) folder = await folder.getDirectoryHandle(part, { create: true });
  const stream = await (await folder.getFileHandle(last, { create: true })).createWritable();
  await stream.write(data);
  await stream.close();
}

async function fileOf(folder, name) {
  try {
    const path = name.split("/");
    const last = path.pop();
    for (const part of path) folder = await folder.getDirectoryHandle(part);
    return await (await folder.getFileHandle(last)).getFile();
  } catch (error) {
    if (["NotFoundError", "TypeMismatchError", "TypeError"].includes(error.name)) return null;
    throw error;
  }
}
