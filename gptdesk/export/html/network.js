// GPT-2 for inference with int8 weights: tokens one after the other, keys and values kept.
"use strict";

// Tensors by name from one block of bytes, as `tensors` lists them: name, type, shape, place.
function readTensors(bytes, tensors) {
  const types = { int8: Int8Array, float32: Float32Array, bfloat16: Uint16Array };
  const read = {};
  for (const { name, type, shape, place } of tensors) {
    const size = shape.reduce((product, side) => product * side, 1);
    read[name] = new types[type](bytes.buffer, bytes.byteOffset + place, size);
  }
  return read;
}

// float32 numbers whose upper half is given
function widened(halves) {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

class Network {
  constructor(config, tensors) {
    this.config = config;
    const { n_layer, n_embd, vocab_size } = config;
    const norm = name => ({
      weight: tensors[`${name}.weight`].slice(), bias: tensors[`${name}.bias`]?.slice(),
      epsilon: round(config.layer_norm_epsilon),
    });
    // copied, so that the block of bytes need not stay in memory
    this.table = { weight: tensors["wte.weight"].slice(), scale: tensors["wte.scale"].slice() };
    this.positions = widened(tensors["wpe.weight"]);
    this.layers = Array.from({ length: n_layer }, (_, i) => ({
      ln_1: norm(`h.${i}.ln_1`),
      c_attn: matrix(tensors, `h.${i}.attn.c_attn`, 3 * n_embd, n_embd),
      attn_proj: matrix(tensors, `h.${i}.attn.c_proj`, n_embd, n_embd),
      ln_2: norm(`h.${i}.ln_2`),
      c_fc: matrix(tensors, `h.${i}.mlp.c_fc`, 4 * n_embd, n_embd),
      mlp_proj: matrix(tensors, `h.${i}.mlp.c_proj`, n_embd, 4 * n_embd),
    }));
    this.ln_f = norm("ln_f");
    this.head = matrix(tensors, "lm_head.weight" in tensors ? "lm_head" : "wte", vocab_size, n_embd);
    // one head after the other: n_head times (block_size, D)
    const store = () => new Float32Array(config.block_size * n_embd);
    this.keys = this.layers.map(store);
    this.values = this.layers.map(store);
    this.length = 0;  // tokens that have been read
    const row = size => new Float32Array(size);
    [this.x, this.h, this.y] = [row(n_embd), row(n_embd), row(n_embd)];
    [this.qkv, this.inner, this.scores] = [row(3 * n_embd), row(4 * n_embd), new Float32Array(config.block_size)];
    this.padded = row(this.head.N);
    this.logits = this.padded.subarray(0, vocab_size);
  }

  // Forget all tokens.
  restart() {
    this.length = 0;
  }

  // Read one token, alone or as one of a `prompt`: {queries, row}, see `attend`.
  read(token, prompt = { queries: 1, row: this.length + 1 }) {
    const { n_embd: C, activation } = this.config;
    const { weight, scale } = this.table;
    for (let c = 0; c < C; c++) {
      this.x[c] = round(weight[token * C + c] * scale[token]) + this.positions[this.length * C + c];
    }
    const gelu = GELU[activation];
    for (let i = 0; i < this.layers.length; i++) {
      const layer = this.layers[i];
      layerNorm(layer.ln_1, this.x, this.h);
      multiply(layer.c_attn, this.h, this.qkv);
      this.attention(i, prompt);
      multiply(layer.attn_proj, this.y, this.h);
      for (let c = 0; c < C; c++) this.x[c] += this.h[c];
      layerNorm(layer.ln_2, this.x, this.h);
      multiply(layer.c_fc, this.h, this.inner);
      for (let c = 0; c < 4 * C; c++) this.inner[c] = gelu(this.inner[c]);
      multiply(layer.mlp_proj, this.inner, this.h);
      for (let c = 0; c < C; c++) this.x[c] += this.h[c];
    }
    this.length++;
  }

  // Return the logits (V,) of the token after those that were read; the next call overwrites them.
  next() {
    layerNorm(this.ln_f, this.x, this.h);
    multiply(this.head, this.h, this.padded);
    return this.logits;
  }

  // Keep the new keys and values of layer i, then write its attention into y: (3C,) -> (C,).
  attention(i, prompt) {
    const { n_embd: C, n_head: H, block_size } = this.config, D = C / H, S = this.length + 1;
    for (let head = 0; head < H; head++) {
      const start = head * block_size * D, q = this.qkv.subarray(head * D, (head + 1) * D);
      const keys = this.keys[i].subarray(start, start + S * D), values = this.values[i].subarray(start, start + S * D);
      keys.set(this.qkv.subarray(C + head * D, C + (head + 1) * D), (S - 1) * D);
      values.set(this.qkv.subarray(2 * C + head * D, 2 * C + (head + 1) * D), (S - 1) * D);
      attend(q, keys, values, S, D, prompt, this.y.subarray(head * D, (head + 1) * D), this.scores);
    }
  }
}

// The matrix of this name (N, K), packed
function matrix(tensors, name, N, K) {
  const [weight, scale, bias] = ["weight", "scale", "bias"].map(part => tensors[`${name}.${part}`]);
  return pack(weight, scale, bias, N, K);
}
