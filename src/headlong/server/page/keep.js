// What the browser keeps: settings, the API key and conversations, in its local storage.

/** Values under this page's names.  Where the browser keeps nothing, they last as long as the page. */
const keep = {
  prefix: "headlong.",
  memory: new Map(),

  get(name, otherwise) {
    try {
      const text = localStorage.getItem(this.prefix + name);
      return text === null ? (this.memory.get(name) ?? otherwise) : JSON.parse(text);
    } catch {
      return this.memory.get(name) ?? otherwise;
    }
  },

  /** Whether the browser took it. */
  set(name, value) {
    try {
      localStorage.setItem(this.prefix + name, JSON.stringify(value));
      this.memory.delete(name);
      return true;
    } catch {
      this.memory.set(name, value);
      return false;
    }
  },

  remove(name) {
    this.memory.delete(name);
    try {
      localStorage.removeItem(this.prefix + name);
    } catch {
      // Nothing was kept.
    }
  },

  names(beginning) {
    const found = new Set(this.memory.keys());
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const name = localStorage.key(i);
        if (name.startsWith(this.prefix)) found.add(name.slice(this.prefix.length));
      }
    } catch {
      // Only what is in memory.
    }
    return [...found].filter((name) => name.startsWith(beginning));
  },
};

/** Conversations, each under its own name, so that two tabs do not overwrite each other's. */
class Conversations {
  static #NAME = "conversation.";
  static #FORMAT = "headlong-conversations";

  /** Newest first. */
  all() {
    return keep
      .names(Conversations.#NAME)
      .map((name) => keep.get(name, null))
      .filter((conversation) => isConversation(conversation))
      .sort((a, b) => b.updated - a.updated);
  }

  /** As it was last saved; null where it is not there or damaged. */
  get(id) {
    const conversation = keep.get(Conversations.#NAME + id, null);
    return isConversation(conversation) ? conversation : null;
  }

  /** Whether the browser had room for it. */
  save(conversation) {
    conversation.updated = Date.now();
    return this.put(conversation);
  }

  put(conversation) {
    return keep.set(Conversations.#NAME + conversation.id, conversation);
  }

  delete(conversation) {
    keep.remove(Conversations.#NAME + conversation.id);
  }

  static create(system = "") {
    const now = Date.now();
    return { id: newId(), title: "", created: now, updated: now, system, messages: [] };
  }

  static export(conversations) {
    const file = { format: Conversations.#FORMAT, version: 1, conversations };
    return JSON.stringify(file, null, 2);
  }

  /** The conversations of an exported file under new ids.  Raises an Error that says what is wrong. */
  static import(text) {
    let file;
    try {
      file = JSON.parse(text);
    } catch {
      throw new Error("The file is not JSON. Choose a file that this page exported.");
    }
    if (file?.format !== Conversations.#FORMAT || !Array.isArray(file.conversations)) {
      throw new Error("The file holds no conversations. Choose a file that this page exported.");
    }
    if (file.version !== 1) {
      throw new Error(`The file has version ${file.version}; this page reads version 1.`);
    }
    const broken = file.conversations.findIndex((conversation) => !isConversation(conversation));
    if (broken >= 0) {
      throw new Error(`Conversation ${broken + 1} of the file is damaged; nothing was imported.`);
    }
    return file.conversations.map((conversation) => ({ ...conversation, id: newId() }));
  }
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** Whether a value from storage or a file has the shape that the page relies on. */
function isConversation(value) {
  const text = (x) => typeof x === "string";
  const number = (x) => typeof x === "number" && Number.isFinite(x);
  const numbers = (x) => x === undefined || (Array.isArray(x) && x.every(number));
  const record = (x) => x === undefined || x === null || (typeof x === "object" && !Array.isArray(x));
  const isMessage = (message) => {
    if (typeof message !== "object" || message === null || !text(message.content)) return false;
    if (message.role === "user") return true;
    if (message.role !== "assistant" || !text(message.reasoning ?? "")) return false;
    return (
      numbers(message.contentRuns) &&
      numbers(message.reasoningRuns) &&
      numbers(message.rounds) &&
      [message.request, message.timings, message.proof].every(record)
    );
  };
  return (
    typeof value === "object" &&
    value !== null &&
    text(value.id) &&
    text(value.title) &&
    text(value.system) &&
    number(value.created) &&
    number(value.updated) &&
    Array.isArray(value.messages) &&
    value.messages.every(isMessage)
  );
}
