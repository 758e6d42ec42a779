// Small things that every part of the page uses.

const byId = (id) => document.getElementById(id);

const fromTemplate = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Copy to the clipboard and say so on the button. */
async function copyText(text, button) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = (await writeClipboard(text)) ? "Copied" : "Not copied";
  setTimeout(() => (button.textContent = label), 1500);
}

async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that do not come over HTTPS or from this machine have no clipboard but this.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "spoken";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Have a text read out by screen readers. */
function announce(text) {
  byId("announcer").textContent = text;
}

/** A line at the foot of the page for some seconds, with a button if there is something to do. */
function notify(text, label = "", act = null) {
  const notice = byId("notice");
  const button = notice.querySelector("button");
  notice.querySelector("span").textContent = text;
  button.hidden = !act;
  button.textContent = label;
  button.onclick = () => {
    notice.hidden = true;
    act?.();
  };
  notice.hidden = false;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => (notice.hidden = true), 8000);
}

/** Give the reader a file. */
function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Call a function on animation frames, less often where it is slow. */
class Painter {
  constructor(paint) {
    this.paint = paint;
    this.waiting = false;
    this.notBefore = 0;
  }

  request() {
    if (this.waiting) return;
    this.waiting = true;
    const delay = this.notBefore - performance.now();
    setTimeout(() => requestAnimationFrame(() => this.now()), Math.max(0, delay));
  }

  now() {
    this.waiting = false;
    const began = performance.now();
    this.paint();
    const spent = performance.now() - began;
    this.notBefore = began + Math.max(40, 4 * spent);
  }
}
