// Sampler settings: what the reader set; what is left empty is the server's business.

const MAX_SEED = Number.MAX_SAFE_INTEGER; // larger ones would lose digits on their way

/** Fields of the dialog: name in the request, label, hint, bounds. */
const SAMPLER = [
  { name: "temperature", label: "Temperature", hint: "0 always takes the likeliest token", min: 0, max: 10, step: 0.05 },
  { name: "top_k", label: "Top k", hint: "Keep the k likeliest; 0 keeps all", min: 0, max: 1000000, step: 1 },
  { name: "top_p", label: "Top p", hint: "Keep the likeliest up to this sum", min: 0, max: 1, step: 0.01 },
  { name: "min_p", label: "Min p", hint: "Drop those below this share of the best", min: 0, max: 1, step: 0.01 },
  { name: "repeat_penalty", label: "Repeat penalty", hint: "1 is off", min: 0.1, max: 10, step: 0.05 },
  { name: "max_tokens", label: "Longest answer", hint: "In tokens", min: 1, max: 1000000, step: 1 },
  { name: "seed", label: "Seed", hint: "Empty draws a new one for each answer", min: 0, max: MAX_SEED, step: 1 },
];

class Settings {
  constructor() {
    const kept = keep.get("settings", {});
    this.sampler = readSampler(kept.sampler);
    this.speculation = readSpeculation(kept.speculation);
    this.thinking = ["on", "off"].includes(kept.thinking) ? kept.thinking : "auto";
    this.theme = ["light", "dark"].includes(kept.theme) ? kept.theme : "auto";
    this.tint = kept.tint !== false;
    this.raw = kept.raw === true;
    this.longestDraft = Infinity; // the server's; not kept
    this.system = typeof kept.system === "string" ? kept.system : "";
  }

  save() {
    keep.set("settings", { ...this, longestDraft: undefined });
  }

  /** The choice of drafts, as far as the server makes them. */
  get drafts() {
    return Number(this.speculation) > this.longestDraft ? "auto" : this.speculation;
  }

  /** What a request for an answer says besides its messages. */
  request() {
    return {
      ...this.sampler,
      seed: this.sampler.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
      ...speculationFields(this.drafts),
      ...(this.thinking === "auto"
        ? {}
        : { chat_template_kwargs: { enable_thinking: this.thinking === "on" } }),
    };
  }
}

/** The request's field for a choice of "auto", "off" or a draft length. */
function speculationFields(choice) {
  if (choice === "auto") return {};
  return { speculative: { n_max: choice === "off" ? 0 : Number(choice) } };
}

function readSpeculation(value) {
  return ["off", "1", "2", "3", "4", "5", "6", "7"].includes(value) ? value : "auto";
}

function readSampler(kept) {
  const sampler = {};
  for (const { name, min, max } of SAMPLER) {
    const value = kept?.[name];
    if (typeof value === "number" && value >= min && value <= max) sampler[name] = value;
  }
  return sampler;
}

/** The server's own settings by name, from its /props. */
function samplerDefaults(props) {
  const given = props?.default_generation_settings ?? {};
  const values = { ...given, ...given.params };
  const found = {};
  for (const { name } of SAMPLER) {
    if (typeof values[name] === "number" && Number.isFinite(values[name])) found[name] = values[name];
  }
  if (!(found.max_tokens > 0)) delete found.max_tokens; // -1: until the context is full
  delete found.seed;
  return found;
}

/** The rows of the dialog; `changed` is called after each change that holds. */
function buildSamplerFields(parent, settings, changed) {
  for (const { name, label, hint, min, max, step } of SAMPLER) {
    const row = document.createElement("div");
    row.className = "field";
    const title = document.createElement("label");
    title.htmlFor = `sampler-${name}`;
    title.textContent = label;
    const input = document.createElement("input");
    Object.assign(input, { type: "number", id: `sampler-${name}`, min, max, step: "any" });
    input.inputMode = step < 1 ? "decimal" : "numeric";
    input.dataset.step = step;
    const note = document.createElement("small");
    note.id = `sampler-${name}-hint`;
    note.textContent = hint;
    input.setAttribute("aria-describedby", note.id);
    input.addEventListener("input", () => {
      const fault = input.validity.badInput
        ? "Not a number"
        : input.value === ""
          ? ""
          : input.valueAsNumber < min || input.valueAsNumber > max
            ? `From ${min} to ${max}`
            : step >= 1 && !Number.isInteger(input.valueAsNumber)
              ? "A whole number"
              : "";
      input.setAttribute("aria-invalid", String(fault !== ""));
      note.textContent = fault || hint;
      if (fault) return;
      if (input.value === "") delete settings.sampler[name];
      else settings.sampler[name] = input.valueAsNumber;
      changed();
    });
    row.append(title, input, note);
    parent.append(row);
  }
}

/** Show the values that are set, and the server's where none is. */
function showSampler(parent, settings, defaults) {
  for (const { name, hint } of SAMPLER) {
    const input = parent.querySelector(`#sampler-${name}`);
    input.value = settings.sampler[name] ?? "";
    const unset = name === "seed" ? "random" : name === "max_tokens" ? "until full" : "server's";
    const value = defaults[name];
    input.placeholder = value === undefined ? unset : String(Number(value.toPrecision(6)));
    input.setAttribute("aria-invalid", "false");
    parent.querySelector(`#sampler-${name}-hint`).textContent = hint;
  }
}
