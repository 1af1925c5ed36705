// What the toolkit itself gives: apps/golden/make.py wrote it.

import { readFileSync } from "node:fs";

export function golden(name) {
  return JSON.parse(readFileSync(new URL(`../../golden/${name}.json`, import.meta.url), "utf8"));
}

/** A folder that `edge app` wrote, as a browser would read it; `changed`: content by name, in place of the file's. */
export function folder(place, changed = {}) {
  return async (name) => {
    if (name in changed) return changed[name] === null ? null : new Blob([changed[name]]);
    try {
      return new Blob([readFileSync(`${place}/${name}`)]);
    } catch {
      return null;
    }
  };
}
