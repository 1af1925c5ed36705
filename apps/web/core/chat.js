// Conversations as text, by the prefixes and suffixes that app.json has (`edge app` wrote them).

// What Python's str.strip takes away, and so Jinja's trim: not what String.trim does.
const BLANK = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*";
const AROUND = new RegExp(`^${BLANK}|${BLANK}$`, "g");

export function trimmed(text) {
  return text.replace(AROUND, "");
}

/** Messages [{role, content}], the last of them a user's -> the text that asks for an answer. */
export function rendered(chat, messages, now = new Date()) {
  const told = messages.some((message) => message.role === "system");
  const parts = told ? [] : [dated(chat, chat.start, now)];
  for (const { role, content } of messages) {
    const around = chat.roles[role];
    if (!around) throw new Error(`this model's conversations have no messages of the role ${role}`);
    const prefix = role === "system" ? dated(chat, around.prefix, now) : around.prefix;
    parts.push(prefix, around.trims ? trimmed(content) : content, around.suffix);
  }
  return parts.join("") + chat.answer;
}

/** A template may say today's date where a conversation begins: app.json has that of its making. */
function dated(chat, text, now) {
  return chat.today ? text.replace(chat.today.said, formatted(chat.today.format, now)) : text;
}

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** The part of strftime that templates use. */
function formatted(format, now) {
  const two = (number) => String(number).padStart(2, "0");
  const parts = {
    d: () => two(now.getDate()),
    m: () => two(now.getMonth() + 1),
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    b: () => MONTHS[now.getMonth()].slice(0, 3),
    B: () => MONTHS[now.getMonth()],
    a: () => DAYS[now.getDay()].slice(0, 3),
    A: () => DAYS[now.getDay()],
    H: () => two(now.getHours()),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    "%": () => "%",
  };
  return format.replace(/%(.)/g, (whole, letter) => {
    if (!parts[letter]) throw new Error(`the chat template writes the date as ${whole}, which this app cannot`);
    return parts[letter]();
  });
}
