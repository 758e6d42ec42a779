// Speed and acceptance of an answer, while it runs and after.

/** Numbers as people read them: three digits, thousands apart. */
function formatNumber(value) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(value >= 10 ? 1 : 2);
}

const plural = (count, one, many = `${one}s`) =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/**
 * The figures of an answer's message: {speed, perRound, drafted, accepted, tokens, depths}.
 *
 * `rounds` has the tokens of each engine step.  The first token comes from the prompt's pass and
 * is no round, as in the server's own count.
 */
function readFigures({ timings, rounds = [], began, latest }) {
  const tokens = timings?.predicted_n ?? rounds.reduce((sum, n) => sum + n, 0);
  const decoding = rounds.slice(1);
  const decoded = decoding.reduce((sum, n) => sum + n, 0);
  const seconds = (latest - began) / 1000;
  return {
    tokens,
    speed: timings?.predicted_per_second || (seconds > 0 ? decoded / seconds : NaN),
    perRound: timings?.tokens_per_round || (decoding.length ? decoded / decoding.length : NaN),
    drafted: timings?.draft_n ?? 0,
    accepted: timings?.draft_n_accepted ?? 0,
    depths: Array.isArray(timings?.acceptance_by_depth) ? timings.acceptance_by_depth : [],
  };
}

const ROUNDS_SHOWN = 128;
const ROUND_WIDTH = 5; // of a bar and the gap after it, in CSS pixels

/** The strip beneath an answer: speed, tokens per round, acceptance by depth, the rounds. */
class FiguresView {
  constructor(parent) {
    this.parent = parent;
    this.speed = this.#figure("tok/s");
    this.perRound = this.#figure("tokens per round");
    this.accepted = this.#figure("of drafts accepted");
    this.depths = document.createElement("ol");
    this.depths.className = "depths";
    this.depths.setAttribute("aria-label", "Accepted drafts by depth");
    this.rounds = document.createElement("div");
    this.rounds.className = "rounds";
    this.rounds.setAttribute("aria-hidden", "true");
    this.rounds.title = "The latest rounds: a token of the model's own, and accepted drafts on it";
    parent.append(this.depths, this.rounds);
  }

  #figure(unit) {
    const node = document.createElement("span");
    const value = document.createElement("b");
    node.className = "figure";
    node.append(value, ` ${unit}`);
    this.parent.append(node);
    return { node, value };
  }

  update(message) {
    const figures = readFigures(message);
    this.parent.hidden = figures.tokens === 0;
    this.speed.value.textContent = formatNumber(figures.speed);
    this.speed.node.hidden = !Number.isFinite(figures.speed);
    this.perRound.value.textContent = formatNumber(figures.perRound);
    this.perRound.node.hidden = !Number.isFinite(figures.perRound);
    const share = figures.accepted / figures.drafted;
    this.accepted.value.textContent = `${Math.round(100 * share)}%`;
    this.accepted.node.hidden = figures.drafted === 0;
    this.#showDepths(figures.depths);
    this.#showRounds(message.rounds ?? []);
  }

  #showDepths(depths) {
    const used = depths.filter(({ drafted }) => drafted > 0);
    this.depths.hidden = used.length === 0;
    this.depths.replaceChildren(
      ...used.map(({ depth, drafted, accepted }) => {
        const item = document.createElement("li");
        const percent = Math.round((100 * accepted) / drafted);
        item.title = `Depth ${depth}: ${accepted} of ${drafted} accepted (${percent}%)`;
        item.style.setProperty("--share", accepted / drafted);
        const bar = document.createElement("span");
        bar.className = `share d${Math.min(depth, 4)}`;
        const words = document.createElement("span");
        words.className = "spoken";
        words.textContent = item.title;
        const label = document.createElement("small");
        label.textContent = depth;
        label.setAttribute("aria-hidden", "true");
        item.append(bar, label, words);
        return item;
      }),
    );
  }

  #showRounds(rounds) {
    const room = Math.floor(this.parent.clientWidth / ROUND_WIDTH) || ROUNDS_SHOWN;
    const shown = rounds.slice(-Math.min(room, ROUNDS_SHOWN));
    this.rounds.hidden = !shown.some((tokens) => tokens > 1);
    this.rounds.replaceChildren(
      ...shown.map((tokens) => {
        const bar = document.createElement("i");
        bar.style.setProperty("--tokens", Math.min(tokens, 8));
        return bar;
      }),
    );
  }
}
