// After the first visit the page works offline: every file of it is kept, and nothing else is ever asked for.

const FILES = []; // build.mjs writes them here
const LATER = []; // and those that are kept once they were asked for
const KEPT = "edge-0"; // and their hash here

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FILES)).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((name) => name !== KEPT).map((name) => caches.delete(name))));
  event.waitUntil(old.then(() => self.clients.claim()));
});
self.addEventListener("fetch", (event) => {
  event.respondWith(caches.match(event.request, { ignoreSearch: true }).then((kept) => kept ?? asked(event.request)));
});

async function asked(request) {
  const answer = await fetch(request);
  const name = request.url.slice(self.registration.scope.length);
  if (answer.ok && LATER.includes(name)) await (await caches.open(KEPT)).put(request, answer.clone());
  return answer;
}
