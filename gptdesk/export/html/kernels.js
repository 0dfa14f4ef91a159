// Arithmetic of int8 inference, rounded to float32 in the places where torch rounds on a CPU.
//
// Sums of whole numbers are exact in any order; floats are added in the order in which torch adds them side by side.
// x * y + z without a rounding between stands for a fused multiplication and addition.
"use strict";

const round = Math.fround;  // to float32
const LANES = 8, CHUNK = 16;  // of a layer norm: numbers side by side, and vectors before sums are joined
const MOST = 127, ZERO = 128;  // steps of an input
const SMALLEST = round(1e-30);  // in place of 0 as the largest magnitude
const NEAREST = 1.5 * 2 ** 52;  // added and taken away, it rounds a double to the nearest whole number, halves to even

const UPPER = 2 ** 27;  // above the sum of K products of two steps, for K up to LARGEST_K
const LARGEST_K = 4096;
const ROWS = 8;  // that are multiplied at the same time

// A matrix (N, K) packed to multiply: two rows share a float64, whole numbers both, which halves the multiplications.
// Rows of zeros fill it up to a multiple of ROWS. `scale` is what a step of each row is worth.
function pack(weight, scale, bias, N, K) {
  const rows = ROWS * Math.ceil(N / ROWS), pairs = new Float64Array(rows * K / 2);
  const filled = values => {
    const all = new Float32Array(rows);
    all.set(values);
    return all;
  };
  for (let n = 0; n < N; n++) {
    const upper = n % 2 ? UPPER : 1, start = Math.floor(n / ROWS) * K * 4 + Math.floor((n % ROWS) / 2);
    for (let k = 0; k < K; k++) pairs[start + 4 * k] += weight[n * K + k] * upper;
  }
  const step = round(1 / MOST);
  return { pairs, scale: filled(scale.map(one => one * step)), bias: bias && filled(bias), N: rows, K };
}

// Write matrix · x + bias into y: (K,) -> (N,). The inputs become whole numbers of 1/127 of the largest one.
function multiply({ pairs, scale, bias, N, K }, x, y) {
  let peak = SMALLEST;
  for (let k = 0; k < K; k++) {
    const size = Math.abs(x[k]);
    if (size > peak) peak = size;
  }
  // FBGEMM counts the steps from 0 to 255, and so it rounds
  for (let k = 0; k < K; k++) inputs[k] = (round(round(x[k] / peak) * MOST + ZERO) + NEAREST - NEAREST) - ZERO;
  const put = (n, sum) => {
    const upper = Math.round(sum / UPPER);
    y[n] = round((sum - upper * UPPER) * scale[n]) * peak;
    y[n + 1] = round(upper * scale[n + 1]) * peak;
  };
  for (let n = 0, i = 0; n < N; n += ROWS) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let k = 0; k < K; k++, i += 4) {
      const step = inputs[k];
      a += step * pairs[i];
      b += step * pairs[i + 1];
      c += step * pairs[i + 2];
      d += step * pairs[i + 3];
    }
    put(n, a);
    put(n + 2, b);
    put(n + 4, c);
    put(n + 6, d);
  }
  if (bias) for (let n = 0; n < N; n++) y[n] += bias[n];
}
const inputs = new Float64Array(LARGEST_K);

// Mean and sum of squared deviations of some numbers, in every lane; `join` adds those of others (Chan et al. 1979).
class Moments {
  constructor() {
    this.count = 0;
    this.mean = new Float32Array(LANES);
    this.squares = new Float32Array(LANES);
  }

  clear() {
    this.count = 0;
    this.mean.fill(0);
    this.squares.fill(0);
  }

  join(other) {
    const count = this.count + other.count, share = count ? round(other.count / count) : 0;
    for (let i = 0; i < LANES; i++) {
      const delta = round(other.mean[i] - this.mean[i]), moved = round(share * delta);
      this.squares[i] = round(delta * this.count) * moved + round(this.squares[i] + other.squares[i]);
      this.mean[i] += moved;
    }
    this.count = count;
  }
}

// Write the layer norm of x into y: (C,) -> (C,). Mean and variance are Welford's, joined like a binary counter.
function layerNorm({ weight, bias, epsilon }, x, y) {
  const C = x.length, vectors = Math.floor(C / LANES), chunks = Math.ceil(vectors / CHUNK);
  const part = new Moments();
  const joined = Array.from({ length: Math.max(1, Math.ceil(Math.log2(chunks))) }, () => new Moments());
  for (let chunk = 0; chunk < chunks; chunk++) {
    part.clear();
    for (let v = chunk * CHUNK; v < Math.min(vectors, (chunk + 1) * CHUNK); v++) {
      part.count++;
      const share = round(1 / part.count);
      for (let i = 0; i < LANES; i++) {
        const value = x[v * LANES + i], delta = round(value - part.mean[i]);
        part.mean[i] = share * delta + part.mean[i];
        part.squares[i] = delta * round(value - part.mean[i]) + part.squares[i];
      }
    }
    joined[0].join(part);
    for (let level = 1, mask = chunk + 1; level < joined.length && !(mask & 1); level++, mask >>= 1) {
      joined[level].join(joined[level - 1]);
      joined[level - 1].clear();
    }
  }
  for (let level = 1; level < joined.length; level++) joined[0].join(joined[level]);
  // numbers beyond whole vectors, then lane after lane
  let count = 0, mean = 0, squares = 0;
  for (let c = vectors * LANES; c < C; c++) {
    const delta = round(x[c] - mean);
    count++;
    mean = round(mean + round(delta / count));
    squares = round(delta * round(x[c] - mean) + squares);
  }
  for (let i = 0; i < LANES && vectors; i++) {
    const all = count + vectors, share = round(vectors / all), delta = round(joined[0].mean[i] - mean);
    mean = round(share * delta + mean);
    const apart = round(round(delta * delta) * share);
    squares = round(squares + round(apart * count + joined[0].squares[i]));
    count = all;
  }
  const inverse = round(1 / round(Math.sqrt(round(round(squares / C) + epsilon))));
  for (let c = 0; c < C; c++) {
    const normal = round(round(x[c] - mean) * inverse);
    y[c] = bias ? normal * weight[c] + bias[c] : normal * weight[c];
  }
}

const LOG2_E = round(1.4426950408889634);
const LN_2_UPPER = 0.693145751953125, LN_2_LOWER = round(1.4286067653301870e-6);  // ln 2 in two parts
const TANH = [0.1980960224e-3, 0.1394256484e-2, 0.8333456703e-2, 0.4166637361e-1].map(round);
const SIXTH = round(0.16666665941423424);

// tanh by way of e^|x|, whose polynomial begins in float32 and goes on in twice the precision
function tanh(x) {
  const size = Math.abs(x);
  if (size > 8.664339742) return Math.sign(x);
  const n = round(size * LOG2_E) + NEAREST - NEAREST, r = size - n * LN_2_UPPER - n * LN_2_LOWER, s = round(r);
  const lower = round(s * round(s * round(s * TANH[0] + TANH[1]) + TANH[2]) + TANH[3]);
  const e = (1 + r + r * r * (0.5 + r * (SIXTH + r * lower))) * 2 ** n;
  return round(Math.sign(x) * ((e - 1 / e) / (e + 1 / e)));
}

// The error function to 15 digits: its series for small x, a continued fraction of its complement beyond.
function erf(x) {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (size + fraction));
}

const BETA = round(Math.sqrt(2 / Math.PI)), KAPPA = round(0.044715);

const GELU = {
  gelu_tanh(x) {
    const inner = round(BETA * round(KAPPA * round(round(x * x) * x) + x));
    return round(round(0.5 * x) * round(1 + tanh(inner)));
  },
  gelu_erf(x) {
    return round(round(0.5 * x) * round(1 + round(erf(round(x * Math.SQRT1_2)))));
  },
};
