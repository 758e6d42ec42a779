// Markdown as models write it, in blocks: paragraphs, headings, lists, code, tables, quotes.

const BLOCK_DEPTH = 8; // of lists and quotes inside one another
const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Lines {text, at} of a source from an index on; `at` is where the line begins. */
function toLines(source, from = 0) {
  const lines = [];
  let at = from;
  for (const text of source.slice(from).split("\n")) {
    lines.push({ text: text.replace(/\r$/, ""), at });
    at += text.length + 1;
  }
  return lines;
}

const shorten = (line, count) => ({ text: line.text.slice(count), at: line.at + count });
const isBlank = (line) => line.text.trim() === "";
const indentOf = (line) => /^[ \t]*/.exec(line.text)[0].length;

/** Lines joined into one text that knows where its characters came from. */
function joinLines(lines) {
  const at = [];
  for (const line of lines) {
    for (let i = 0; i <= line.text.length; i++) at.push(line.at + i);
  }
  at.pop();
  return { text: lines.map((line) => line.text).join("\n"), at };
}

/** The blocks of some lines: {kind, at, …}, in order. */
function* readBlocks(lines, level = 0) {
  let i = 0;
  while (i < lines.length) {
    if (isBlank(lines[i])) {
      i++;
      continue;
    }
    const [block, next] = readBlock(lines, i, level);
    yield { at: lines[i].at, ...block };
    i = next;
  }
}

function readBlock(lines, i, level) {
  const { text } = lines[i];
  if (FENCE.test(text)) return readFence(lines, i);
  if (HEADING.test(text)) return readHeading(lines, i);
  if (RULE.test(text)) return [{ kind: "rule" }, i + 1];
  if (level < BLOCK_DEPTH && QUOTE.test(text)) return readQuote(lines, i);
  if (level < BLOCK_DEPTH && ITEM.test(text)) return readList(lines, i);
  if (startsTable(lines, i)) return readTable(lines, i);
  return readParagraph(lines, i, level);
}

function readFence(lines, i) {
  const [, indent, fence, language] = FENCE.exec(lines[i].text);
  const body = [];
  let k = i + 1;
  for (; k < lines.length; k++) {
    const text = lines[k].text.trim();
    if (text.length >= fence.length && text === fence[0].repeat(text.length)) break;
    body.push(shorten(lines[k], Math.min(indent.length, indentOf(lines[k]))));
  }
  return [{ kind: "code", language: language.trim().split(/\s/)[0], lines: body }, k + 1];
}

function readHeading(lines, i) {
  const found = HEADING.exec(lines[i].text);
  const line = shorten(lines[i], found[0].length);
  line.text = line.text.replace(/[ \t]+#*[ \t]*$/, "");
  return [{ kind: "heading", rank: found[1].length, lines: [line] }, i + 1];
}

function readQuote(lines, i) {
  const body = [];
  for (; i < lines.length && QUOTE.test(lines[i].text); i++) {
    body.push(shorten(lines[i], QUOTE.exec(lines[i].text)[0].length));
  }
  return [{ kind: "quote", lines: body }, i];
}

function readList(lines, i) {
  const [, indent, marker] = ITEM.exec(lines[i].text);
  const ordered = /\d/.test(marker);
  const items = [];
  let loose = false;
  let width = 0;
  for (; i < lines.length; i++) {
    const line = lines[i];
    if (isItem(line, indent.length, ordered)) {
      const found = ITEM.exec(line.text);
      width = found[0].length - (found[3].length > 4 ? found[3].length - 1 : 0);
      items.push([shorten(line, width)]);
    } else if (isBlank(line)) {
      const next = lines.slice(i).find((other) => !isBlank(other));
      if (!next) break;
      if (indentOf(next) < indent.length + 2 && !isItem(next, indent.length, ordered)) break;
      loose = true;
      items.at(-1).push(line);
    } else if (indentOf(line) >= indent.length + 2) {
      items.at(-1).push(shorten(line, Math.min(width, indentOf(line))));
    } else if (!isBlank(lines[i - 1]) && !interrupts(lines, i)) {
      items.at(-1).push(line); // a paragraph that goes on without its indent
    } else break;
  }
  return [{ kind: "list", ordered, start: parseInt(marker, 10), loose, items }, i];
}

function isItem(line, indent, ordered) {
  const found = ITEM.exec(line.text);
  if (found === null || RULE.test(line.text)) return false;
  return found[1].length <= indent + 1 && /\d/.test(found[2]) === ordered;
}

function startsTable(lines, i) {
  if (i + 1 >= lines.length || !lines[i].text.includes("|")) return false;
  if (!DIVIDER.test(lines[i + 1].text)) return false;
  return splitRow(lines[i]).length === splitRow(lines[i + 1]).length;
}

function readTable(lines, i) {
  const head = splitRow(lines[i]);
  const sides = splitRow(lines[i + 1]).map(({ text }) => {
    const [left, right] = [text.trim().startsWith(":"), text.trim().endsWith(":")];
    return right ? (left ? "center" : "right") : "left";
  });
  const rows = [];
  for (i += 2; i < lines.length && lines[i].text.includes("|"); i++) rows.push(splitRow(lines[i]));
  return [{ kind: "table", head, sides, rows }, i];
}

/** The cells of a row, each a line; bars in code or after a backslash are part of a cell. */
function splitRow(line) {
  const cells = [];
  const { text } = line;
  const outer = /^[ \t]*\|?/.exec(text)[0].length;
  let from = outer;
  for (let i = outer, code = false; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "`") code = !code && text.indexOf("`", i + 1) > 0;
    else if (text[i] === "|" && !code) {
      cells.push({ text: text.slice(from, i), at: line.at + from });
      from = i + 1;
    }
  }
  if (text.slice(from).trim()) cells.push({ text: text.slice(from), at: line.at + from });
  return cells.map((cell) => {
    const trimmed = shorten(cell, indentOf(cell));
    return { ...trimmed, text: trimmed.text.trimEnd() };
  });
}

function readParagraph(lines, i, level) {
  const body = [lines[i]];
  for (i++; i < lines.length && !isBlank(lines[i]); i++) {
    if (interrupts(lines, i) && level <= BLOCK_DEPTH) break;
    body.push(lines[i]);
  }
  return [{ kind: "paragraph", lines: body.map((line) => shorten(line, indentOf(line))) }, i];
}

/** Whether a line ends the paragraph before it. */
function interrupts(lines, i) {
  const { text } = lines[i];
  if ([FENCE, HEADING, RULE, QUOTE].some((pattern) => pattern.test(text))) return true;
  const item = ITEM.exec(text);
  if (item && item[3] && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1)) return true;
  return startsTable(lines, i);
}

/** The element of a block. */
function renderBlock(block, marks, level = 0) {
  const element = (tag, ...children) => {
    const node = document.createElement(tag);
    node.append(...children);
    return node;
  };
  const inline = (tag, lines) => {
    const node = document.createElement(tag);
    appendInline(node, joinLines(lines), marks);
    return node;
  };
  const inner = (tag, lines, tight = false) => {
    const node = document.createElement(tag);
    for (const child of readBlocks(lines, level + 1)) {
      if (tight && child.kind === "paragraph") appendInline(node, joinLines(child.lines), marks);
      else node.append(renderBlock(child, marks, level + 1));
    }
    return node;
  };
  switch (block.kind) {
    case "code":
      return renderCode(block, marks);
    case "heading": // the page's own headings are h1 and h2
      return inline(`h${Math.min(block.rank + 2, 6)}`, block.lines);
    case "rule":
      return element("hr");
    case "quote":
      return inner("blockquote", block.lines);
    case "list": {
      const list = element(block.ordered ? "ol" : "ul");
      if (block.ordered && block.start !== 1) list.start = block.start;
      list.append(...block.items.map((item) => inner("li", item, !block.loose)));
      return list;
    }
    case "table":
      return renderTable(block, inline, element);
    default:
      return inline("p", block.lines);
  }
}

function renderTable({ head, sides, rows }, inline, element) {
  const row = (tag, cells) => {
    const tr = element("tr");
    sides.forEach((side, i) => {
      const cell = inline(tag, [cells[i] ?? { text: "", at: 0 }]);
      cell.className = side;
      if (tag === "th") cell.scope = "col";
      tr.append(cell);
    });
    return tr;
  };
  const body = element("tbody", ...rows.map((cells) => row("td", cells)));
  const scroller = element("div", element("table", element("thead", row("th", head)), body));
  scroller.className = "table";
  scroller.tabIndex = 0;
  return scroller;
}

function renderCode({ language, lines }, marks) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = language;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.className = "quiet";
  button.setAttribute("aria-label", "Copy this code");
  const text = joinLines(lines);
  button.addEventListener("click", () => copyText(text.text, button));
  caption.append(name, button);
  const code = document.createElement("code");
  appendText(code, text, marks);
  const pre = document.createElement("pre");
  pre.tabIndex = 0; // long lines scroll by keyboard
  pre.append(code);
  figure.className = "code";
  figure.append(caption, pre);
  return figure;
}

/** Markdown that grows: only the last block, which may still change, is rendered again. */
class MarkdownView {
  constructor(parent, marks) {
    this.parent = parent;
    this.marks = marks;
    this.settled = 0; // where the last block begins
    this.kept = 0; // nodes of the blocks before it
  }

  update(source) {
    const blocks = [...readBlocks(toLines(source, this.settled))];
    while (this.parent.childNodes.length > this.kept) this.parent.lastChild.remove();
    for (const block of blocks) this.parent.append(renderBlock(block, this.marks));
    if (blocks.length > 0) {
      this.settled = blocks.at(-1).at;
      this.kept += blocks.length - 1;
    }
  }
}
