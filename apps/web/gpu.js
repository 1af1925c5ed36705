// The GPU, where a browser lets a page use one and it says what the processor says.

import { disagreement, greedy } from "./core/selftest.js";

const HELLO = [{ role: "user", content: "Hello! Tell me something." }];

/** `open(runtime, options)`: a decoder; `plain`: the runtime on the processor -> { decoder, note }: why not on the GPU. */
export async function fastest(open, plain, text) {
  const decoder = await open(plain, {});
  if (!(await navigator.gpu?.requestAdapter())) return { decoder, note: "this browser lets a page use no GPU" };
  const ids = text.conversation(HELLO);
  const found = await disagreement(async () => {
    const runtime = await import("./vendor/ort.webgpu.min.mjs"); // large: fetched only where it is wanted
    runtime.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
    return open(runtime, { executionProviders: ["webgpu"] });
  }, ids, await greedy(decoder, ids));
  if (found.problem) return { decoder, note: `the GPU is not used: ${found.problem}` };
  await decoder.close();
  return { decoder: found.decoder, note: "" };
}
