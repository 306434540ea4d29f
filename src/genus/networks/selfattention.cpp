// Self-attention from one projection to what the heads say, and the way back, without leaving the processor's caches: rows
// are normalised and rotated, scores, probabilities and products follow, a head of a text at a time. Products are of
// bfloat16, summed in float32. C interface alone; `selfattention.py` compiles, loads and describes it.
//
// The right side of a product lies in panels of sixteen columns, in them two numbers that are multiplied after another
// together: turned where its rows are the columns, paired where its rows are multiplied after another.
#include "near.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

constexpr int64_t ROWS = 8;      // queries, or keys, of a tile: its sums stay in registers
constexpr int64_t BLOCK = 128;   // queries whose probabilities are there at once on the way back

// Rows that are fetched before they are needed: those of a head lie apart.
constexpr int64_t AHEAD = 16;

// e^x, to two units of the last place, for x of some 80 on either side of nothing, and 0 far below.
inline __m512 power(__m512 x) {
    const __m512 y = _mm512_max_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _mm512_set1_ps(-127.f));
    const __m512 whole = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(y, whole);
    __m512 p = _mm512_set1_ps(1.5403530e-4f);
    for (float c : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.f})
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
    return _mm512_scalef_ps(p, whole);
}

// to [ROWS, 16 V], rows `stride` numbers apart, = or += sums of `steps` pairs: rows of a are `apart` bytes from each other
// and their pairs `next` bytes, panels of b `wide` bytes. Not inlined: with strides that it knows the compiler keeps the
// sums in memory.
template <int V, bool MORE>
__attribute__((noinline)) void tile(const char* a, int64_t apart, int64_t next, const char* b, int64_t wide,
                                    int64_t steps, float* to, int64_t stride) {
    __m512 sums[ROWS][V];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) sums[r][v] = _mm512_setzero_ps();
    for (int64_t i = 0; i < steps; ++i) {
        __m512bh right[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) right[v] = (__m512bh)_mm512_loadu_si512(b + v * wide + i * 64);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            int32_t two;
            std::memcpy(&two, a + r * apart + i * next, 4);
            const __m512bh left = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, right[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) {
            float* at = to + r * stride + v * 16;
            _mm512_storeu_ps(at, MORE ? _mm512_add_ps(_mm512_loadu_ps(at), sums[r][v]) : sums[r][v]);
        }
}

// The same over any number of panels.
template <bool MORE>
inline void product(const void* a, int64_t apart, int64_t next, const void* b, int64_t wide, int64_t steps, float* to,
                    int64_t stride, int64_t panels) {
    for (int64_t p = 0; p < panels;) {
        const int64_t left = panels - p, v = left == 4 || left == 2 ? 2 : std::min<int64_t>(left, 3);
        const auto go = v == 3 ? tile<3, MORE> : v == 2 ? tile<2, MORE> : tile<1, MORE>;
        go(static_cast<const char*>(a), apart, next, static_cast<const char*>(b) + p * wide, wide, steps, to + p * 16,
           stride);
        p += v;
    }
}

struct Shape {
    int64_t batch, n, heads, kv, d;
    bool causal, normed;   // normed: queries and keys are normalised before they are rotated
    const int32_t* begun;  // [batch, n]: where the text of each query begins; null: a row is one text
    int64_t padded() const { return (n + 15) / 16 * 16; }
    int64_t wide() const { return (heads + 2 * kv) * d; }
    int64_t first(int64_t text, int64_t query) const {  // key that a tile of queries looks at, the least of sixteen
        return begun == nullptr ? 0 : begun[text * n + query] / 16 * 16;
    }
    int64_t keys(int64_t query) const { return causal ? std::min(padded(), (query + ROWS + 15) / 16 * 16) : padded(); }
};

// Rows of a head, `wide` numbers apart, as bf16 [padded, d], zeros behind them; cos null: as they are, else rotated, and
// normalised by factors [padded].
void read(const bf16* x, const Shape& s, const bf16* cos, const bf16* sin, bf16* y, float* factors) {
    const int64_t d = s.d, half = d / 2;
    for (int64_t i = 0; i < s.padded(); ++i, y += d) {
        const bf16* row = x + i * s.wide();
        for (int64_t j = 0; j < d; j += 32) __builtin_prefetch(row + AHEAD * s.wide() + j);  // reads nothing
        if (i >= s.n || cos == nullptr) {
            if (i >= s.n)
                std::memset(y, 0, d * 2);
            else
                std::memcpy(y, row, d * 2);
            continue;
        }
        float by = 1;
        if (s.normed) {
            __m512 sum = _mm512_setzero_ps();
            for (int64_t j = 0; j < d; j += 16) sum = _mm512_fmadd_ps(number(row + j), number(row + j), sum);
            by = std::sqrt(float(d)) / std::max(std::sqrt(_mm512_reduce_add_ps(sum)), 1e-6f);
        }
        factors[i] = by;
        for (int64_t j = 0; j < d; j += 16) {
            const __m512 mine = _mm512_mul_ps(number(row + j), number(cos + i * d + j));
            const __m512 both = _mm512_fmadd_ps(number(row + (j + half) % d), number(sin + i * d + j), mine);
            put(y + j, _mm512_mul_ps(both, _mm512_set1_ps(by)));
        }
    }
}

// The gradient g [d] of a row y that `read` gave, as that of the row it read.
inline void unread(const float* g, const bf16* y, const Shape& s, float factor, const bf16* cos, const bf16* sin, bf16* to) {
    const int64_t d = s.d, half = d / 2;
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < d && s.normed; j += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(g + j), number(y + j), sum);
    const __m512 along = _mm512_set1_ps(-_mm512_reduce_add_ps(sum) / float(d)), by = _mm512_set1_ps(factor);
    for (int64_t j = 0; j < d; j += 16) {
        const int64_t other = (j + half) % d;
        const __m512 mine = _mm512_fmadd_ps(number(y + j), along, _mm512_loadu_ps(g + j));
        const __m512 theirs = _mm512_fmadd_ps(number(y + other), along, _mm512_loadu_ps(g + other));
        const __m512 back = _mm512_fnmadd_ps(theirs, number(sin + j), _mm512_mul_ps(mine, number(cos + j)));
        put(to + j, _mm512_mul_ps(back, by));
    }
}

// x [n, d] as [n / 16, d / 2, 16, 2]: for products over d.
void turned(const bf16* x, int64_t n, int64_t d, bf16* to) {
    for (int64_t p = 0; p < n; p += 16)
        for (int64_t j = 0; j < d; j += 32)
            turned16(x + p * d + j, 2 * d, reinterpret_cast<int32_t*>(to + p * d + j * 16));
}

// Two registers of sixteen numbers each, their bf16 taking turns.
inline __m512i together(__m256i one, __m256i two) {
    const __m512i low = _mm512_cvtepu16_epi32(one), high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(two), 16);
    return _mm512_or_si512(low, high);
}

// The pairs of two tiles of keys, each where its tile lies.
inline void spread(bf16* to, int64_t tile, __m512i pairs) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(pairs));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + tile), _mm512_extracti64x4_epi64(pairs, 1));
}

// x [n, d] as [d / 16, n / 2, 16, 2]: for products over n.
void paired(const bf16* x, int64_t n, int64_t d, bf16* to) {
    for (int64_t j = 0; j < d; j += 16)
        for (int64_t i = 0; i < n; i += 2) {
            const __m256i one = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i * d + j));
            const __m256i two = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + (i + 1) * d + j));
            _mm512_storeu_si512(to + j * n + i * 16, together(one, two));
        }
}

// Which of sixteen keys from `key` on a query sees.
inline __mmask16 seen(const Shape& s, int64_t text, int64_t query, int64_t key) {
    if (query >= s.n) return 0;
    const int64_t end = (s.causal ? query + 1 : s.n) - key;
    const int64_t from = s.begun == nullptr ? 0 : s.begun[text * s.n + query] - key;
    const __mmask16 before = end >= 16 ? 0xffff : end <= 0 ? 0 : (1 << end) - 1;
    return from >= 16 ? 0 : from <= 0 ? before : before & ~((1 << from) - 1);
}

}  // namespace

extern "C" {

// qkv [B, N, heads + 2 kv, D] bfloat16, tables [N, D], each text's `own` numbers on (0: one for all) -> y [B, N, heads, D] and the logarithm of each row's sum of powers
// [B, heads, N] float32.
void genus_attend(const bf16* qkv, const bf16* cosines, const bf16* sines, int64_t own, const int32_t* begun, int64_t batch,
                  int64_t n, int64_t heads, int64_t kv, int64_t d, int causal, int normed, bf16* y, float* sums, int threads) {
    const Shape s{batch, n, heads, kv, d, causal != 0, normed != 0, begun};
    const int64_t m = s.padded(), each = heads / kv;
    const float scale = 1 / std::sqrt(float(d));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        static thread_local Room small, large;
        bf16* rows = small.of<bf16>(3 * m * d + ROWS * m);
        bf16 *keys = rows + m * d, *values = keys + m * d, *p = values + m * d;
        float* scores = large.of<float>(ROWS * m + m + ROWS * d);
        float *factors = scores + ROWS * m, *said = factors + m;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t g = 0; g < kv; ++g) {
                const bf16 *text = qkv + b * n * s.wide(), *cos = cosines + b * own, *sin = sines + b * own;
                read(text + (heads + g) * d, s, cos, sin, rows, factors);
                turned(rows, m, d, keys);
                read(text + (heads + kv + g) * d, s, nullptr, nullptr, rows, nullptr);
                paired(rows, m, d, values);
                for (int64_t h = g * each; h < (g + 1) * each; ++h) {
                    read(text + h * d, s, cos, sin, rows, factors);
                    for (int64_t i = 0; i < n; i += ROWS) {
                        const int64_t from = s.first(b, i), end = s.keys(i), few = std::min(ROWS, n - i);
                        product<false>(&rows[i * d], d * 2, 4, keys + from * d, d * 32, d / 2, scores + from, m,
                                       (end - from) / 16);
                        float over[ROWS];
                        for (int64_t r = 0; r < ROWS; ++r) {
                            const float* row = &scores[r * m];
                            float high = 0;  // of normalised rows none is above sqrt d
                            if (!s.normed) {
                                __m512 most = _mm512_set1_ps(-1e30f);
                                for (int64_t j = from; j < end; j += 16)
                                    most = _mm512_mask_max_ps(most, seen(s, b, i + r, j), most, _mm512_loadu_ps(row + j));
                                high = _mm512_reduce_max_ps(most) * scale;
                            }
                            __m512 sum = _mm512_setzero_ps();
                            for (int64_t j = from; j < end; j += 16) {
                                const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(row + j), _mm512_set1_ps(scale),
                                                                 _mm512_set1_ps(high));
                                const __m512 e = _mm512_maskz_mov_ps(seen(s, b, i + r, j), power(x));
                                sum = _mm512_add_ps(sum, e);
                                put(&p[r * m + j], e);
                            }
                            const float all = _mm512_reduce_add_ps(sum);
                            over[r] = 1 / all;
                            if (r < few) sums[(b * heads + h) * n + i + r] = high + std::log(all);
                        }
                        product<false>(p + from, m * 2, 4, values + from * 16, m * 32, (end - from) / 2, said, d, d / 16);
                        for (int64_t r = 0; r < few; ++r)
                            for (int64_t j = 0; j < d; j += 16)
                                put(y + ((b * n + i + r) * heads + h) * d + j,
                                    _mm512_mul_ps(_mm512_loadu_ps(&said[r * d + j]), _mm512_set1_ps(over[r])));
                    }
                }
            }
    }
}

// The gradient dy [B, N, heads, D] of y as that of qkv, dqkv.
void genus_attend_back(const bf16* dy, const bf16* qkv, const float* sums, const bf16* cosines, const bf16* sines,
                       int64_t own, const int32_t* begun, int64_t batch, int64_t n, int64_t heads, int64_t kv, int64_t d,
                       int causal, int normed, bf16* dqkv, int threads) {
    const Shape s{batch, n, heads, kv, d, causal != 0, normed != 0, begun};
    const int64_t m = s.padded(), each = heads / kv, line = BLOCK * ROWS;  // numbers of a tile of keys
    const float scale = 1 / std::sqrt(float(d));
    const Shape told{batch, n, heads, 0, d, causal != 0, false, nullptr};  // rows of dy
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        static thread_local Room small, large;
        const int64_t all = m * d;
        bf16* k = small.of<bf16>(9 * all + ROWS * m + 2 * BLOCK * m);
        bf16 *v = k + all, *q = v + all, *g = q + all, *turned_k = g + all, *turned_v = turned_k + all;
        bf16 *paired_k = turned_v + all, *paired_q = paired_k + all, *paired_g = paired_q + all;
        bf16 *ds = paired_g + all, *all_p = ds + ROWS * m, *all_ds = all_p + BLOCK * m;
        float* scores = large.of<float>(2 * ROWS * m + 2 * m + ROWS * d + 2 * all);
        float *dp = scores + ROWS * m, *of_k = dp + ROWS * m, *of_q = of_k + m;
        float *dq = of_q + m, *dk = dq + ROWS * d, *dv = dk + all;
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t b = 0; b < batch; ++b)
            for (int64_t group = 0; group < kv; ++group) {
                const bf16 *text = qkv + b * n * s.wide(), *cos = cosines + b * own, *sin = sines + b * own;
                bf16* to = dqkv + b * n * s.wide();
                read(text + (heads + group) * d, s, cos, sin, k, of_k);
                read(text + (heads + kv + group) * d, s, nullptr, nullptr, v, nullptr);
                turned(k, m, d, turned_k);
                turned(v, m, d, turned_v);
                paired(k, m, d, paired_k);
                std::fill(dk, dk + 2 * all, 0.f);
                for (int64_t h = group * each; h < (group + 1) * each; ++h) {
                    read(text + h * d, s, cos, sin, q, of_q);
                    read(dy + b * n * heads * d + h * d, told, nullptr, nullptr, g, nullptr);
                    paired(q, m, d, paired_q);
                    paired(g, m, d, paired_g);
                    for (int64_t from = 0; from < m; from += BLOCK) {
                        const int64_t till = std::min(from + BLOCK, m);
                        for (int64_t i = from; i < till; i += ROWS) {
                            const int64_t first = s.first(b, std::min(i, n - 1)), end = s.keys(i), few = (end - first) / 16;
                            product<false>(&q[i * d], d * 2, 4, turned_k + first * d, d * 32, d / 2, scores + first, m, few);
                            product<false>(&g[i * d], d * 2, 4, turned_v + first * d, d * 32, d / 2, dp + first, m, few);
                            for (int64_t r = 0; r < ROWS; ++r) {
                                float *p = &scores[r * m], *row = &dp[r * m];
                                const __m512 less = _mm512_set1_ps(i + r < n ? sums[(b * heads + h) * n + i + r] : 0.f);
                                __m512 sum = _mm512_setzero_ps();
                                for (int64_t j = first; j < end; j += 16) {
                                    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(p + j), _mm512_set1_ps(scale), less);
                                    const __m512 e = _mm512_maskz_mov_ps(seen(s, b, i + r, j), power(x));
                                    sum = _mm512_fmadd_ps(e, _mm512_loadu_ps(row + j), sum);
                                    _mm512_storeu_ps(p + j, e);
                                }
                                const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
                                for (int64_t j = first; j < end; j += 16) {
                                    const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(row + j), mean);
                                    const __m512 by = _mm512_mul_ps(_mm512_loadu_ps(p + j), _mm512_set1_ps(scale));
                                    put(&ds[r * m + j], _mm512_mul_ps(off, by));
                                }
                            }
                            for (int64_t r = 0; r < ROWS; r += 2)
                                for (int64_t j = first; j < end; j += 16) {
                                    const int64_t at = j / ROWS * line + (i - from + r) * ROWS;
                                    const auto small = [&](int64_t o) {
                                        return (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(&scores[(r + o) * m + j]));
                                    };
                                    const auto kept = [&](int64_t o) {
                                        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&ds[(r + o) * m + j]));
                                    };
                                    spread(&all_p[at], line, together(small(0), small(1)));
                                    spread(&all_ds[at], line, together(kept(0), kept(1)));
                                }
                            product<false>(ds + first, m * 2, 4, paired_k + first * 16, m * 32, (end - first) / 2, dq, d, d / 16);
                            for (int64_t r = 0; r < std::min(ROWS, n - i); ++r)
                                unread(&dq[r * d], &q[(i + r) * d], s, of_q[i + r], cos + (i + r) * d, sin + (i + r) * d,
                                       to + (i + r) * s.wide() + h * d);
                        }
                        for (int64_t j = 0; j < (s.causal ? till : m); j += ROWS) {
                            const int64_t first = s.causal ? std::max(from, j) : from;
                            int64_t last = first;  // queries of later texts do not look at these keys
                            while (last < till && s.first(b, std::min(last, n - 1)) <= j) last += ROWS;
                            const int64_t steps = (last - first) / 2;
                            if (steps == 0) continue;
                            const int64_t at = j / ROWS * line + (first - from) * ROWS;
                            product<true>(&all_p[at], 4, 4 * ROWS, &paired_g[first * 16], m * 32, steps, &dv[j * d], d, d / 16);
                            product<true>(&all_ds[at], 4, 4 * ROWS, &paired_q[first * 16], m * 32, steps, &dk[j * d], d, d / 16);
                        }
                    }
                }
                for (int64_t i = 0; i < n; ++i) {
                    bf16* row = to + i * s.wide();
                    unread(&dk[i * d], &k[i * d], s, of_k[i], cos + i * d, sin + i * d, row + (heads + group) * d);
                    for (int64_t j = 0; j < d; j += 16)
                        put(row + (heads + kv + group) * d + j, _mm512_loadu_ps(&dv[i * d + j]));
                }
            }
    }
}
}
