"use strict";

// Texts of clients and models are put into the page by textContent only, so that markup in them is shown and not run.

const PAUSE = 300; // milliseconds without a key before a text is translated
const SPACE = /([\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+)/; // as Python splits words
const LEVELS = [[0.5, "low", "below 50%"], [0.8, "middle", "50 to 80%"], [0.95, "high", "80 to 95%"]];
const SURE = "95% and more";
const BLANK = "·";

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function level(probability) {
  const found = LEVELS.find(([bound]) => probability < bound);
  return found ? found[1] : "";
}

const percent = (probability) => `${Math.round(probability * 100)}%`;

// A text as elements: a span for each word, text between them.
function wordsOf(text, element = () => make("span")) {
  const words = [];
  const nodes = text.split(SPACE).filter((part) => part).map((part) => {
    if (SPACE.test(part)) return document.createTextNode(part);
    const word = element(words.length);
    word.textContent = part;
    words.push(word);
    return word;
  });
  return { nodes, words };
}

// The confidence of each word, that of its least certain token.
function confidences(row, count) {
  const found = Array(count).fill(1);
  for (const { word, confidence } of row.tokens) {
    if (word !== null && word < count) found[word] = Math.min(found[word], confidence);
  }
  return found;
}

// The translation as words that can be pointed at and reached by the arrow keys.
function showTranslation(row, sourceWords) {
  const detail = make("p", { className: "detail" });
  detail.setAttribute("role", "status");
  const { nodes, words } = wordsOf(row.text, () => make("span", { className: "word", tabIndex: -1 }));
  const sure = confidences(row, words.length);
  const aligned = row.alignment.length > 0;
  const point = (index) => {
    const sources = index === null ? [] : row.alignment[index] ?? [];
    sourceWords().forEach((word, i) => word.classList.toggle("lit", sources.includes(i)));
    if (index === null) return;
    const from = sources.map((i) => sourceWords()[i]?.textContent).filter((text) => text);
    const origin = !aligned ? "This model says nothing about its source words."
      : from.length ? `Source: ${from.join(" ")}` : "No single source word.";
    detail.textContent = `${words[index].textContent}: confidence ${percent(sure[index])}. ${origin}`;
  };
  words.forEach((word, i) => {
    if (level(sure[i])) word.classList.add(level(sure[i]));
    word.addEventListener("mouseenter", () => point(i));
    word.addEventListener("mouseleave", () => point(null));
    word.addEventListener("focus", () => point(i));
    word.addEventListener("blur", () => point(null));
    word.addEventListener("keydown", (event) => {
      const next = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: words.length - 1 }[event.key];
      if (next === undefined || !words[next]) return;
      event.preventDefault();
      word.tabIndex = -1;
      words[next].tabIndex = 0;
      words[next].focus();
    });
  });
  if (words.length) {
    words[0].tabIndex = 0;
    detail.textContent = "Point at a word, or go to it with Tab and the arrow keys, for its confidence"
      + (aligned ? " and its source words." : ". This model says nothing about its source words.");
  }
  const group = make("div", { className: "text" }, ...nodes);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Words of the translation; arrow keys move between them");
  return make("div", {}, group, detail);
}

function confidenceLegend() {
  const legend = make("p", { className: "legend" }, "Confidence of a word: ");
  for (const [, name, said] of LEVELS) legend.append(make("span", { className: `word ${name}` }, said));
  legend.append(make("span", { className: "word" }, SURE));
  return legend;
}

function showAlternatives(row) {
  if (!row.alternatives.length) return [];
  const items = row.alternatives.map((one) => make("li", {}, one.text, " ",
    make("span", { className: "score" }, one.score === null ? "" : `(score ${one.score.toFixed(2)})`)));
  return [make("h2", {}, "Alternatives"), make("ol", {}, ...items)];
}

function showSlot({ symbol, probability, again, kept }) {
  const names = ["slot", level(probability), again ? "again" : "", kept ? "" : "left-out"];
  const kind = symbol === null ? "blank" : /^(\[(CLS|SEP|PAD|MASK)\]|<\/?(s|pad|mask)>)$/.test(symbol) ? "special" : "";
  if (kind) names[3] = kind;
  const said = kept ? "" : kind ? ` ${kind}` : " repeat";
  const cell = make("td", { className: names.filter((name) => name).join(" ") },
    make("b", {}, symbol ?? BLANK), make("span", { className: "unseen" }, said), make("small", {}, percent(probability)));
  if (again) cell.append(make("span", { className: "unseen" }, "predicted again"));
  return cell;
}

function canvasLegend(refined) {
  const slot = (name, text, said) => make("span", { className: "pairing" },
    make("span", { className: `slot ${name}` }, make("b", {}, text)), said);
  const legend = make("p", { className: "legend" }, slot("blank", BLANK, "blank"),
    slot("left-out", "a", "repeat, merged with its neighbour"));
  if (refined) legend.append(slot("again", "a", "hidden and predicted again in this pass"));
  return legend;
}

function showSentence({ source, passes }, several) {
  const body = make("tbody");
  passes.forEach(({ text, slots }, i) => {
    const head = make("th", { scope: "row" }, `pass ${i}`);
    body.append(make("tr", {}, head, ...slots.map(showSlot)),
      make("tr", {}, make("td"), make("td", { className: "of-pass", colSpan: slots.length }, make("div", {}, text))));
  });
  const table = make("table", { className: "canvas" }, body);
  table.setAttribute("aria-label", `The canvas after each pass: ${source}`);
  const wide = make("div", { className: "wide", tabIndex: 0 }, table);
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "The canvas, which may be wider than the page");
  return several ? [make("h3", {}, source), wide] : [wide];
}

function showWritten(row, options) {
  if (!row.written) return [];
  const found = [make("h2", {}, "How it was written")];
  if (!row.written.length) {
    return [...found, make("p", {}, row.text
      ? "This model writes word by word, without a canvas." : "Nothing was written.")];
  }
  const most = Math.max(...row.written.map(({ passes }) => passes.length));
  const last = row.written.map(({ passes }) => passes[passes.length - 1].text).join(" ");
  found.push(make("p", {}, "The model fills all positions of a canvas at once. Repeats are merged, then blanks are dropped. "
    + "The number is the probability of a symbol when it was last predicted."
    + (last.split(SPACE).join(" ") === row.text.split(SPACE).join(" ") || !options.searches ? ""
      : " The search weighed other symbols of the same canvas, and chose another text.")));
  found.push(canvasLegend(most > 1), ...row.written.flatMap((one) => showSentence(one, row.written.length > 1)));
  return found;
}

// A page that was saved with its translations.
function showSaved(saved) {
  byId("results").append(confidenceLegend());
  document.querySelector("header a").remove();
  document.querySelector(".skip").remove();
  for (const { source, row, summary } of saved) {
    const { nodes, words } = wordsOf(source);
    const text = make("p", { className: "text output source" }, ...nodes);
    const section = make("section", { className: "saved" }, make("h2", {}, "Text"), text, make("h2", {}, "Translation"),
      make("div", { className: "output" }, showTranslation(row, () => words)), make("p", {}, summary),
      ...showAlternatives(row), ...showWritten(row, { searches: false }));
    byId("results").append(section);
  }
}

const state = { models: [], limit: Infinity, asked: null, timer: null, words: [] };

async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (byId("key").value) headers.Authorization = `Bearer ${byId("key").value}`;
  const options = body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { signal };
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error), { said: true });
  return found;
}

function say(message) {
  byId("message").textContent = message;
  byId("message").hidden = !message;
}

const chosen = () => state.models.find(({ source, target }) => source === byId("source").value && target === byId("target").value);

function readGlossary() {
  const lines = byId("glossary").value.split("\n").map((line) => line.split("=").map((part) => part.trim()));
  return Object.fromEntries(lines.filter(([term, translation]) => term && translation));
}

function readNumber(id) {
  const { value, min, max } = byId(id);
  return Math.min(Math.max(Math.trunc(Number(value)) || 0, Number(min)), Number(max));
}

function request(text) {
  const model = chosen();
  const passes = model.refines ? readNumber("passes") : 0;
  const body = { texts: [text], source: model.source, target: model.target, search: byId("search").value, alignment: true,
    canvas: byId("show-written").checked };
  if (passes) body.options = { iter_decode_max_iter: passes };
  else if (model.searches) Object.assign(body, { alternatives: readNumber("alternatives"), glossary: readGlossary() });
  return body;
}

function showSource() {
  const { nodes, words } = wordsOf(byId("text").value);
  state.words = words;
  byId("behind").replaceChildren(...nodes, "\n");
  const used = [...byId("text").value].length;
  byId("count").textContent = `${used.toLocaleString("en")} of ${state.limit.toLocaleString("en")} characters`;
}

function showNothing(status = "") {
  byId("output").replaceChildren();
  byId("output").classList.remove("old");
  byId("results").replaceChildren();
  byId("status").textContent = status;
  byId("copy").disabled = true;
}

async function translate() {
  state.asked?.abort();
  say("");
  const text = byId("text").value;
  if (!text.trim() || !chosen()) {
    showNothing();
    return;
  }
  const asked = state.asked = new AbortController();
  byId("status").textContent = "Translating";
  const begun = performance.now();
  try {
    const row = (await ask("v1/translate", request(text), asked.signal)).translations[0];
    if (asked !== state.asked) return;
    if (row.error) throw Object.assign(new Error(row.error), { said: true });
    show(row, Math.round(performance.now() - begun));
  } catch (error) {
    if (asked !== state.asked || error.name === "AbortError") return;
    showNothing();
    say(error.said ? `No translation: ${error.message}.` : "The server cannot be reached. Type on to try again.");
  }
}

function show(row, milliseconds) {
  byId("output").classList.remove("old");
  byId("output").replaceChildren(showTranslation(row, () => state.words));
  byId("status").textContent = `Translated in ${milliseconds} ms, ${Math.round(row.milliseconds)} ms of them on the server`;
  byId("copy").disabled = false;
  byId("copy").onclick = async () => {
    await navigator.clipboard.writeText(row.text);
    byId("status").textContent = "Copied";
  };
  byId("results").replaceChildren(...showAlternatives(row), ...showWritten(row, chosen()));
}

function later() {
  byId("output").classList.add("old");
  clearTimeout(state.timer);
  state.timer = setTimeout(translate, PAUSE);
}

function fillLanguages(names) {
  const choices = (id, codes) => byId(id).replaceChildren(...codes.map((value) => make("option", { value }, names[value] ?? value)));
  const targets = () => {
    const before = byId("target").value;
    const codes = state.models.filter(({ source }) => source === byId("source").value).map(({ target }) => target);
    choices("target", codes);
    if (codes.includes(before)) byId("target").value = before;
    model();
  };
  const model = () => {
    const { source, target, refines, searches } = chosen();
    byId("text").lang = source;
    byId("output").lang = target;
    byId("passes-option").hidden = !refines;
    byId("glossary-option").hidden = !searches;
    byId("alternatives").disabled = !searches;
  };
  choices("source", [...new Set(state.models.map(({ source }) => source))]);
  targets();
  byId("source").addEventListener("change", () => { targets(); later(); });
  byId("target").addEventListener("change", () => { model(); later(); });
}

async function start() {
  const [models, languages, settings] = await Promise.all(["v1/models", "languages", "frontend/settings"].map((path) => ask(path)));
  Object.assign(state, { models, limit: settings.charLimit });
  byId("key-option").hidden = !settings.keyRequired;
  fillLanguages(Object.fromEntries(languages.map(({ code, name }) => [code, name])));
  showSource();
  if (byId("text").value) later();
}

function live() {
  byId("live").hidden = false;
  byId("legend").append(confidenceLegend());
  byId("copy").hidden = !navigator.clipboard; // browsers have none where a page comes from another machine without TLS
  byId("text").addEventListener("input", () => { showSource(); later(); });
  byId("text").addEventListener("scroll", () => { byId("behind").scrollTop = byId("text").scrollTop; });
  for (const id of ["search", "passes", "alternatives", "glossary", "key"]) byId(id).addEventListener("input", later);
  byId("show-written").addEventListener("change", later);
  start().catch(() => say("The server cannot be reached. Load this page again once it runs."));
}

const saved = byId("saved-translations");
if (saved) showSaved(JSON.parse(saved.textContent));
else live();
