"use strict";
const table = document.getElementById("rows");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const filter = document.getElementById("filter");
const published = document.getElementById("published");

// Missing figures stay below, whichever way the rest is sorted.
function sortBy(column, down) {
  const numeric = heads[column].classList.contains("num");
  const key = (row) => row.cells[column].dataset.key;
  const rows = [...body.rows];
  rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = numeric ? x - y : x.localeCompare(y, "en", { numeric: true });
    return down ? -order : order;
  });
  body.append(...rows);
  heads.forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

heads.forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const first = head.classList.contains("num") ? "descending" : "ascending";
    sortBy(column, now === null ? first === "descending" : now === "ascending");
  });
});

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    const wanted = words.every((word) => text.includes(word));
    row.hidden = !wanted || (row.classList.contains("published") && !published?.checked);
  }
  const sources = document.querySelector(".sources");
  if (sources) sources.hidden = !published.checked;
}
filter.addEventListener("input", show);
published?.addEventListener("change", show);
show();

document.getElementById("copy").addEventListener("click", async (event) => {
  const cells = (row) => [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, " ").trim());
  const line = (words) => `| ${words.map((word) => word.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = heads.map((head) => (head.classList.contains("num") ? "--:" : "---"));
  const rows = [...body.rows].filter((row) => !row.hidden);
  const names = heads.map((head) => head.innerText.trim());
  const text = [line(names), line(rule), ...rows.map((row) => line(cells(row)))].join("\n");
  const button = event.currentTarget;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // A page opened from a file may not have the clipboard: offer the text to copy by hand.
    window.prompt("Copy the table:", text);
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.getElementById("download").addEventListener("click", () => {
  const text = document.getElementById("records").textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "headlong-bench.json";
  link.click();
  URL.revokeObjectURL(link.href);
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});
