// The list of conversations, and what can be done with one.

class Sidebar {
  /** `actions`: open(conversation), create(), rename(…), remove(…), importAll(list), busy(). */
  constructor(conversations, actions) {
    this.conversations = conversations;
    this.actions = actions;
    this.list = byId("conversations");
    this.renaming = false;
    byId("new").addEventListener("click", () => actions.create());
    byId("export-all").addEventListener("click", () => this.#exportAll());
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.#import(event.target));
    byId("open-sidebar").addEventListener("click", () => this.toggle(true));
    byId("close-sidebar").addEventListener("click", () => this.toggle(false));
    byId("veil").addEventListener("click", () => this.toggle(false));
  }

  get isDrawer() {
    return matchMedia("(max-width: 56rem)").matches;
  }

  get isOpen() {
    return document.body.classList.contains("drawer");
  }

  /** On narrow screens the list lies over the conversation. */
  toggle(open) {
    if (open === this.isOpen) return;
    document.body.classList.toggle("drawer", open);
    byId("open-sidebar").setAttribute("aria-expanded", String(open));
    byId("stage").inert = open;
    byId(open ? "close-sidebar" : "open-sidebar").focus();
  }

  show(current) {
    if (this.renaming) return; // shown when that has ended
    const shown = this.conversations.all();
    const focused = document.activeElement.closest?.("#conversations li")?.dataset.id;
    this.list.replaceChildren(...shown.map((one) => this.#item(one, one.id === current.id)));
    if (focused) this.list.querySelector(`[data-id="${CSS.escape(focused)}"] .open`)?.focus();
    byId("export-all").disabled = shown.length === 0;
  }

  #item(conversation, current) {
    const item = document.createElement("li");
    item.dataset.id = conversation.id;
    const open = document.createElement("button");
    open.type = "button";
    open.className = "open";
    open.textContent = titleOf(conversation);
    open.addEventListener("click", () => {
      this.actions.open(conversation);
      if (this.isOpen) this.toggle(false);
    });
    item.append(open);
    if (!current) return item;
    open.setAttribute("aria-current", "true");
    const tools = document.createElement("div");
    tools.className = "tools";
    const tool = (label, act) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = label;
      button.addEventListener("click", act);
      tools.append(button);
    };
    tool("Rename", () => this.#rename(item, conversation));
    tool("Export", () => {
      const latest = this.conversations.get(conversation.id) ?? conversation;
      download(fileName(latest), Conversations.export([latest]));
    });
    tool("Delete", () => this.actions.remove(conversation));
    item.append(tools);
    return item;
  }

  #rename(item, conversation) {
    const input = document.createElement("input");
    input.value = titleOf(conversation);
    input.maxLength = 200;
    input.setAttribute("aria-label", "Title of this conversation");
    this.renaming = true;
    const end = (keepIt) => {
      if (!this.renaming) return;
      this.renaming = false;
      const title = input.value.trim();
      if (keepIt && title) this.actions.rename(conversation, title);
      else this.actions.rename(conversation, conversation.title);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.stopPropagation();
        end(event.key === "Enter");
        this.list.querySelector("[aria-current]")?.focus();
      }
    });
    input.addEventListener("blur", () => end(true));
    item.querySelector(".open").replaceWith(input);
    input.select();
  }

  #exportAll() {
    download("headlong-conversations.json", Conversations.export(this.conversations.all()));
  }

  async #import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      this.actions.importAll(Conversations.import(await file.text()));
    } catch (error) {
      notify(error.message);
    }
  }
}

/** A conversation's title: the one it was given, or how it begins. */
function titleOf({ title, messages }) {
  if (title) return title;
  const first = (messages[0]?.content ?? "").trim().split("\n")[0];
  return first.length > 60 ? `${first.slice(0, 59)}…` : first || "New conversation";
}

function fileName(conversation) {
  const words = titleOf(conversation).toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["conversation"];
  return `${words.slice(0, 6).join("-")}.json`;
}
