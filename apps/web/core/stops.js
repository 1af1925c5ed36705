// Stop strings: text that ends an answer and is not part of it. Nothing is shown that may still become one, and
// nothing else is held back.

export class StopStrings {
  #stops;
  #held = "";

  constructor(stops) {
    if (stops.includes("")) throw new Error("a stop string is empty: it would end every answer");
    this.#stops = stops;
  }

  /** A piece of an answer -> what may be shown now, and whether a stop string was met: feed no more then. */
  feed(piece) {
    const text = this.#held + piece;
    const found = this.#stops
      .map((stop) => ({ at: text.indexOf(stop), end: text.indexOf(stop) + stop.length }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.end - b.end || a.at - b.at); // whichever is complete first
    if (found.length) {
      this.#held = "";
      return { text: text.slice(0, found[0].at), stopped: true };
    }
    const sure = text.length - this.#unsure(text);
    this.#held = text.slice(sure);
    return { text: text.slice(0, sure), stopped: false };
  }

  /** What was held back and did not become a stop string. */
  finish() {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  #unsure(text) {
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(text.length - length);
      if (this.#stops.some((stop) => stop.startsWith(end))) return length;
    }
    return 0;
  }
}
