// The proof that speculation changes the speed and not the text: the same answer, both ways.

/**
 * Answer the same messages again, with speculation off and then on, at the same seed.
 *
 * `progress` is called with the proof so far.  Returns it when both runs have ended.
 */
async function prove(server, messages, answer, signal, progress) {
  const { speculative, ...request } = answer.request;
  const choice = speculative?.n_max ? String(speculative.n_max) : "auto";
  if (answer.finish === "stopped") {
    request.max_tokens = Math.max(1, answer.rounds.reduce((sum, tokens) => sum + tokens, 0));
  }
  const proof = { runs: [], complete: false };
  const answers = [];
  for (const speculation of ["off", choice]) {
    const again = newAnswer({ ...request, ...speculationFields(speculation) }, answer.model);
    const reader = new AnswerReader(again);
    answers.push(again);
    proof.runs.push({ speculation, speed: NaN, perRound: NaN, tokens: 0 });
    for await (const event of server.answer(answerBody(messages, again.request), signal)) {
      reader.read(event);
      const { speed, perRound, tokens } = readFigures(again);
      proof.runs[proof.runs.length - 1] = { speculation, speed, perRound, tokens };
      progress(proof);
    }
  }
  const [off, on] = answers.map(wholeText);
  const original = wholeText(answer);
  const stopped = answer.finish === "stopped";
  proof.complete = true;
  proof.characters = off.length;
  proof.differsAt = firstDifference(off, on);
  if (proof.differsAt < 0) {
    proof.differsAt = firstDifference(original, stopped ? on.slice(0, original.length) : on);
  }
  return proof;
}

/** What a request for an answer sends. */
function answerBody(messages, request) {
  return {
    messages,
    ...request,
    stream: true,
    stream_options: { include_usage: true },
    timings_per_token: true,
    return_drafts: true,
    return_progress: true,
  };
}

const wholeText = ({ reasoning, content }) => reasoning + content;

/** The index of the first character that differs; -1 where two texts are the same. */
function firstDifference(a, b) {
  if (a === b) return -1;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}

/** Show a proof, whole or under way; null shows nothing. */
function showProof(parent, proof) {
  parent.hidden = proof === null;
  if (proof === null) return;
  const { runs, complete } = proof;
  const fastest = Math.max(...runs.map(({ speed }) => speed || 0), 1e-9);
  const list = document.createElement("dl");
  for (const { speculation, speed, perRound, tokens } of runs) {
    const name = document.createElement("dt");
    name.textContent = speculation === "off" ? "Drafts off" : `Drafts ${nameDrafts(speculation)}`;
    const value = document.createElement("dd");
    const bar = document.createElement("span");
    bar.className = speculation === "off" ? "share own" : "share";
    bar.style.setProperty("--share", (speed || 0) / fastest);
    const words = document.createElement("span");
    const rounds = perRound > 1 ? `, ${formatNumber(perRound)} per round` : "";
    words.textContent = `${formatNumber(speed)} tok/s, ${plural(tokens, "token")}${rounds}`;
    value.append(bar, words);
    list.append(name, value);
  }
  const verdict = document.createElement("p");
  verdict.className = "verdict";
  verdict.textContent = complete ? describeProof(proof) : "Answering again at the same seed…";
  verdict.classList.toggle("bad", complete && proof.differsAt >= 0);
  parent.replaceChildren(verdict, list);
}

const nameDrafts = (choice) => (choice === "auto" ? "auto" : `of ${choice}`);

function describeProof({ runs, differsAt, characters }) {
  if (differsAt >= 0) {
    return `The texts differ from character ${(differsAt + 1).toLocaleString("en")} on.`;
  }
  const ratio = runs[1].speed / runs[0].speed;
  const same = `Identical text: all ${plural(characters, "character")} are the same.`;
  if (!Number.isFinite(ratio)) return same;
  if (ratio >= 0.995 && ratio <= 1.005) return `${same} The speed is the same too.`;
  const faster = ratio > 1;
  return `${same} ${formatNumber(faster ? ratio : 1 / ratio)}× as fast ${
    faster ? "with drafts" : "without drafts"
  }.`;
}
