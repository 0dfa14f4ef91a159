// Sampler chain: candidates for the next token narrowed by one sampler after the other, then one draw.
"use strict";

const MASS_TOLERANCE = 1e-6;  // a sum of shares, or a ratio, that much below its goal counts as reaching it
const TINY = 2 ** -126;
const FIRST_LOOK = 64;  // tokens ranked before it is known how many are needed: enough for many
const FEW = 128;  // tokens, up to which they are sorted in while they are looked for
const MOST_LUCK = 37;  // no noise can be worth more, in nats

// Candidates are {values, ids, ranked}: float32 values by rising id or, ranked, with the best first.
const SAMPLERS = {
  greedy: candidates => best(candidates, 1),
  temperature(candidates, temperature) {
    if (temperature === 1) return candidates;
    if (temperature === 0) return best(candidates, 1);
    const { values, ids } = candidates, top = maximum(values), divisor = round(Math.max(temperature, TINY));
    return { ...candidates, values: values.map(value => round(value - top) / divisor), ids };
  },
  top_k: (candidates, k) => (k === 0 ? candidates : best(candidates, k)),
  top_p(candidates, p) {
    if (p === 1) return candidates;
    const most = maximum(candidates.values);
    let total = 0;
    for (let i = 0; i < candidates.values.length; i++) total += Math.exp(candidates.values[i] - most);
    for (let look = FIRST_LOOK; ; look *= 8) {
      const ranked = best(candidates, look), { values } = ranked;
      let sum = 0, n = 0;
      while (n < values.length && sum < p - MASS_TOLERANCE) sum += Math.exp(values[n++] - most) / total;
      if (sum >= p - MASS_TOLERANCE || n === candidates.values.length) return first(ranked, n);
    }
  },
  min_p(candidates, p) {
    if (p === 0) return candidates;
    const floor = maximum(candidates.values) + (Math.log(p) - MASS_TOLERANCE);
    return kept(candidates, value => value >= floor);
  },
};

function maximum(values) {
  let most = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

// Probabilities in float64 of some logits
function softmax(values) {
  const most = maximum(values), shares = new Float64Array(values.length);
  let total = 0;
  for (let i = 0; i < values.length; i++) total += shares[i] = Math.exp(values[i] - most);
  for (let i = 0; i < values.length; i++) shares[i] /= total;
  return shares;
}

function kept({ values, ids, ranked }, condition) {
  const places = [];
  for (let i = 0; i < values.length; i++) if (condition(values[i])) places.push(i);
  return chosen({ values, ids, ranked }, places);
}

function chosen({ values, ids, ranked }, places) {
  return { values: Float32Array.from(places, i => values[i]), ids: Int32Array.from(places, i => ids[i]), ranked };
}

function first({ values, ids, ranked }, n) {
  return { values: values.subarray(0, n), ids: ids.subarray(0, n), ranked };
}

// Sort: the best first, of equal ones the lowest id.
function rank(candidates) {
  if (candidates.ranked) return candidates;
  const { values, ids } = candidates, order = Uint32Array.from(values, (_, i) => i);
  order.sort((a, b) => values[b] - values[a] || ids[a] - ids[b]);
  return { ...chosen(candidates, order), ranked: true };
}

// The n best, without sorting the others
function best(candidates, n) {
  const { values, ranked } = candidates;
  if (ranked || 4 * n >= values.length) return first(rank(candidates), n);
  const floor = n > FEW ? Float32Array.from(values).sort()[values.length - n] : nthBest(values, n);
  return first(rank(kept(candidates, value => value >= floor)), n);
}

// The n-th highest of some values, by a list of the n highest so far: quick for a small n
function nthBest(values, n) {
  const most = new Float32Array(n).fill(-Infinity);  // falling
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value <= most[n - 1]) continue;
    let place = n - 1;
    for (; place && most[place - 1] < value; place--) most[place] = most[place - 1];
    most[place] = value;
  }
  return most[n - 1];
}

// Draw the next id from logits (V,): chain is a list of [sampler, option], key that of this step.
function sample(logits, chain, key) {
  let candidates = { values: logits, ids: sample.ids(logits.length), ranked: false };
  for (const [sampler, option] of chain) candidates = SAMPLERS[sampler](candidates, option);
  const { values, ids } = candidates, top = maximum(values);
  let winner = ids[0], lead = -Infinity;
  if (ids.length === 1) return winner;
  for (let i = 0; i < ids.length; i++) {
    if (values[i] - top + MOST_LUCK < lead) continue;
    // an exponential race: the logarithm of p / E with E = -log(uniform), the highest wins
    const own = values[i] - top - Math.log(-Math.log(noise(key, ids[i])));
    if (own > lead) {
      lead = own;
      winner = ids[i];
    }
  }
  return winner;
}
sample.all = new Int32Array(0);
sample.ids = size => (sample.all.length === size ? sample.all : (sample.all = Int32Array.from({ length: size }, (_, i) => i)));
