// Decode loop from a prompt to a stream of tokens.
"use strict";

const SHOWN = 10;  // most likely tokens kept of every step
const READ_AT_ONCE = 256;  // tokens of a prompt
const SLICE = 30;  // milliseconds of computing, after which the page is drawn

// Yield one {token, probability, top, text} after the other: `text` is what the token completes, maybe nothing;
// `top` lists the most likely [id, probability] of the model, before any sampler. Yields null where the page may draw,
// and at last {reason, text}. Throws an Error with a sentence for a prompt that cannot be encoded.
function* generate(model, { prompt, chain, seed, tokens: wanted, stopped }) {
  const { network, tokenizer, endOfText } = model, { block_size: context } = network.config;
  let ids = tokenizer.encode(prompt);
  if (!ids.length) ids = [endOfText ?? 0];
  const read = Math.min(wanted - 1, Math.floor(context / 2));
  const dropped = Math.max(0, ids.length - (context - read));
  ids = ids.slice(dropped);
  const keys = new KeyStream(seed), decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let drawn = performance.now();
  const late = () => performance.now() - drawn > SLICE && ((drawn = Infinity), true);
  const draw = function* () {
    yield null;
    drawn = performance.now();
  };
  yield { prompt: ids.length, dropped };
  network.restart();
  for (let i = 0; i < ids.length; i++) {
    const start = i - (i % READ_AT_ONCE), row = Math.min(ids.length, start + READ_AT_ONCE);
    network.read(ids[i], { queries: row - start, row });
    if (late()) yield* draw();
    if (stopped()) return yield { reason: "stopped", text: "" };
  }
  for (let n = 1; ; n++) {
    const logits = network.next(), token = sample(logits, chain, keys.next());
    const step = { token, ...judged(logits, token), text: "" };
    const reason = token === endOfText ? "end" : stopped() ? "stopped" : n >= wanted ? "length"
      : network.length >= context ? "context" : null;
    if (token !== endOfText) step.text = decoder.decode(tokenizer.bytes(token), { stream: true });
    yield step;
    if (reason) return yield { reason, text: decoder.decode() };
    if (late()) yield* draw();
    network.read(token);
  }
}

// Probability of the token drawn, and the most likely ones, under the raw model
function judged(logits, token) {
  const shares = softmax(logits), places = best({ values: logits, ids: sample.ids(logits.length), ranked: false }, SHOWN).ids;
  return { probability: shares[token], top: Array.from(places, id => [id, shares[id]]) };
}
