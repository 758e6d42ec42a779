// Markdown inside a line: emphasis, code, links. Builds elements and text nodes, never HTML.
//
// A text here is {text, at}: a string and the place of each of its characters in the answer, so
// that every text node can be tinted by where its characters came from.

const INLINE_DEPTH = 8; // of emphasis inside emphasis
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;
const BARE_LINK = /https?:\/\/[^\s<>"'`|]+/y;
const LINE_BREAK = /<br\s*\/?>/iy;

/** The part of a text from one index to another. */
function cut(source, from, to = source.text.length) {
  return { text: source.text.slice(from, to), at: source.at.slice(from, to) };
}

/** Append characters as they are, in spans where they came from drafts. */
function appendText(parent, { text, at }, marks) {
  let from = 0;
  while (from < text.length) {
    const depth = marks.at(at[from]);
    let to = from + 1;
    while (to < text.length && marks.at(at[to]) === depth) to++;
    if (depth === 0) parent.append(text.slice(from, to));
    else appendDraft(parent, text, from, to, depth);
    from = to;
  }
}

/** A tinted run; line breaks and the indents after them stay plain. */
function appendDraft(parent, text, from, to, depth) {
  const line = text.lastIndexOf("\n", from - 1);
  const begins = line >= 0 && text.slice(line, from).trim() === "";
  const indent = begins ? /(?:^|\n)[ \t]*/g : /\n[ \t]*/g;
  const run = text.slice(from, to);
  let shown = 0;
  const tint = (end) => {
    if (end === shown) return;
    const span = document.createElement("span");
    span.className = `draft d${Math.min(depth, 4)}`;
    span.textContent = run.slice(shown, end);
    parent.append(span);
  };
  for (const found of run.matchAll(indent)) {
    tint(found.index);
    shown = found.index + found[0].length;
    if (found[0]) parent.append(found[0]);
  }
  tint(run.length);
}

/** Append a line or a paragraph with its inline marks rendered. */
function appendInline(parent, source, marks, level = 0) {
  const { text } = source;
  let plain = 0;
  let i = 0;
  while (i < text.length) {
    const span = level < INLINE_DEPTH ? readSpan(text, i) : null;
    if (span === null) {
      i++;
      continue;
    }
    appendText(parent, cut(source, plain, i), marks);
    appendSpan(parent, span, cut(source, span.from, span.to), marks, level);
    i = plain = span.end;
  }
  appendText(parent, cut(source, plain), marks);
}

function appendSpan(parent, span, inside, marks, level) {
  if (span.tag === null) {
    appendText(parent, inside, marks);
    return;
  }
  const node = document.createElement(span.tag);
  if (span.tag === "a") {
    node.href = span.href;
    node.target = "_blank";
    node.rel = "noopener noreferrer";
  }
  if (span.literal) appendText(node, inside, marks);
  else appendInline(node, inside, marks, span.tag === "a" ? INLINE_DEPTH : level + 1);
  parent.append(node);
}

/** What begins at an index: {tag, from, to, end}, or null for an ordinary character. */
function readSpan(text, i) {
  switch (text[i]) {
    case "\\":
      return readEscape(text, i);
    case "`":
      return readCode(text, i);
    case "*":
    case "_":
    case "~":
      return readEmphasis(text, i);
    case "!":
      return text[i + 1] === "[" ? readLink(text, i + 1) : null; // a picture becomes its link
    case "[":
      return readLink(text, i);
    case "h":
      return i === 0 || !WORD.test(text[i - 1]) ? readBareLink(text, i, i) : null;
    case "<":
      LINE_BREAK.lastIndex = i;
      if (LINE_BREAK.test(text)) return { tag: "br", from: i, to: i, end: LINE_BREAK.lastIndex };
      return readBareLink(text, i, i + 1);
    case " ":
      return text.startsWith("  \n", i) ? { tag: "br", from: i, to: i, end: i + 3 } : null;
    default:
      return null;
  }
}

function readEscape(text, i) {
  if (text[i + 1] === "\n") return { tag: "br", from: i, to: i, end: i + 2 };
  if (!PUNCTUATION.test(text[i + 1] ?? "")) return null;
  return { tag: null, from: i + 1, to: i + 2, end: i + 2 };
}

function readCode(text, i) {
  let from = i;
  while (text[from] === "`") from++;
  const fence = text.slice(i, from);
  let to = text.indexOf(fence, from);
  while (to >= 0 && (text[to - 1] === "`" || text[to + fence.length] === "`")) {
    to = text.indexOf(fence, to + 1);
  }
  // Backticks that are never closed are text, all of them at once.
  if (to < 0) return { tag: null, from: i, to: from, end: from };
  const end = to + fence.length;
  if (text[from] === " " && text[to - 1] === " " && text.slice(from, to).trim()) {
    from++;
    to--;
  }
  return { tag: "code", from, to, end, literal: true };
}

function readEmphasis(text, i) {
  const one = text[i];
  const double = text[i + 1] === one;
  if (one === "~" && !double) return null;
  const mark = double ? one + one : one;
  const from = i + mark.length;
  if (from >= text.length || /\s/.test(text[from])) return null;
  if (one === "_" && i > 0 && WORD.test(text[i - 1])) return null;
  const to = findClosing(text, from, mark);
  if (to < 0) return null;
  const tag = one === "~" ? "del" : double ? "strong" : "em";
  return { tag, from, to, end: to + mark.length };
}

function findClosing(text, from, mark) {
  const one = mark[0];
  let i = text.indexOf(mark, from);
  while (i >= 0) {
    let end = i;
    while (text[end] === one) end++;
    const run = end - i;
    const fits = mark.length === 1 ? run !== 2 : run >= 2;
    const closes = i > from && !/\s/.test(text[i - 1]) && text[i - 1] !== "\\";
    const apart = one !== "_" || end === text.length || !WORD.test(text[end]);
    if (fits && closes && apart) return end - mark.length; // the inner mark of *** stays inside
    i = text.indexOf(mark, end);
  }
  return -1;
}

function readLink(text, i) {
  const close = findBracket(text, i, "[", "]");
  if (close < 0 || text[close + 1] !== "(") return null;
  const end = findBracket(text, close + 1, "(", ")");
  if (end < 0) return null;
  const target = /^\s*<?([^\s<>]*)>?(?:\s+["'(].*)?\s*$/s.exec(text.slice(close + 2, end));
  const href = target ? safeAddress(target[1]) : null;
  if (href === null) return null;
  return { tag: "a", from: i + 1, to: close, end: end + 1, href };
}

function readBareLink(text, at, from) {
  BARE_LINK.lastIndex = from;
  const found = BARE_LINK.exec(text);
  if (!found) return null;
  const address = from === at ? found[0].replace(/[.,;:!?)\]}*_~]+$/, "") : found[0];
  const href = safeAddress(address);
  const to = from + address.length;
  if (href === null || (from > at && text[to] !== ">")) return null;
  return { tag: "a", from, to, end: from > at ? to + 1 : to, href, literal: true };
}

/** The index of the bracket that closes the one at `i`; -1 when it is not there. */
function findBracket(text, i, opening, closing) {
  const most = Math.min(text.length, i + 2048); // so that a row of brackets costs little
  for (let level = 0, k = i; k < most; k++) {
    if (text[k] === "\\") k++;
    else if (text[k] === opening) level++;
    else if (text[k] === closing && --level === 0) return k;
  }
  return -1;
}

/** An address that may be followed, written out in full, or null. */
function safeAddress(address) {
  if (!/^https?:\/\//i.test(address) || !URL.canParse(address)) return null;
  const url = new URL(address);
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
}
