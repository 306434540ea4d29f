// The products of a decoder with weights of 4, 8 or 16 bits, and one pass through its layers without leaving this file.
//
// Of 4: w = d q + m with q unsigned, and d, m of each 32 weights of a row. Of 8: w = d (q - 128), and d of each 64.
// Activations are rounded to 8 bits, 32 at a time. So a product is sums of bytes (VNNI), put together in float32.
// Sixteen rows lie together: q of four columns of each make one register. Of 16: weights and activations are bfloat16, two
// columns of sixteen rows make one register. C interface alone; `packed.py` compiles, loads and describes it.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int ROWS = 16, TILE = 8, BANDS = 2;
constexpr int SPAN = 32;  // activations that share their scale
constexpr int AHEAD = 6;  // groups of a row's weights that are fetched before they are needed
constexpr auto HINT = _MM_HINT_T1;  // the near cache holds what is being multiplied
constexpr int TURN = 8;  // queries of a row from which on its keys are turned
constexpr int MIDDLE = 128;  // of weights of 8 bits

// Columns of a row that share their scale; the last may be half a group.
constexpr int group_of(int bits) { return bits == 8 ? 64 : 32; }
constexpr int groups_of(int bits, int K) { return (K + group_of(bits) - 1) / group_of(bits); }
// Bytes of so many columns of sixteen rows.
constexpr int block_of(int bits) { return group_of(bits) * ROWS * bits / 8 + (bits == 4 ? 4 * ROWS : bits == 8 ? 2 * ROWS : 0); }

// Activations [T, K]: as bytes [T, spans, SPAN], zeros behind, with the scale of each span and its sum: of 4 bits in units of
// the float, of 8 in bytes, times -128; or as bfloat16.
struct Acts {
    std::vector<int8_t> q;
    std::vector<float> scale, sum;
    std::vector<int32_t> less;
    std::vector<uint16_t> wide;
    int spans;
    void read(const float* x, int T, int K, int bits) {
#ifdef __AVX512BF16__
        if (bits == 16) {
            wide.resize(size_t(T) * K);
            for (size_t i = 0; i < wide.size(); i += 16)
                _mm256_storeu_si256((__m256i*)(wide.data() + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i)));
            return;
        }
#endif
        spans = groups_of(bits, K) * group_of(bits) / SPAN;
        q.resize(size_t(T) * spans * SPAN), scale.resize(size_t(T) * spans);
        bits == 8 ? less.resize(size_t(T) * spans) : sum.resize(size_t(T) * spans);
        for (int t = 0; t < T; t++)
            for (int i = 0; i < spans; i++) {
                const size_t at = size_t(t) * spans + i;
                const bool there = i * SPAN < K;
                const float* from = x + size_t(t) * K + i * SPAN;
                const __m512 a = there ? _mm512_loadu_ps(from) : _mm512_setzero_ps();
                const __m512 b = there ? _mm512_loadu_ps(from + 16) : _mm512_setzero_ps();
                const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
                const float s = most / 127.f, r = most > 0 ? 127.f / most : 0.f;
                const __m512i u = _mm512_cvtps_epi32(_mm512_mul_ps(a, _mm512_set1_ps(r)));
                const __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(b, _mm512_set1_ps(r)));
                _mm_storeu_si128((__m128i*)(q.data() + at * SPAN), _mm512_cvtepi32_epi8(u));
                _mm_storeu_si128((__m128i*)(q.data() + at * SPAN + 16), _mm512_cvtepi32_epi8(v));
                const int total = _mm512_reduce_add_epi32(_mm512_add_epi32(u, v));
                scale[at] = s;
                if (bits == 8) less[at] = -MIDDLE * total;
                else sum[at] = s * total;
            }
    }
};

// Of sixteen rows with weights of 4 bits and N of the activations. next: weights that will be wanted soon, of which `share`
// bytes are fetched a group; fetching may run over the end: it reads nothing.
template <int N>
inline void tile4(const uint8_t* w, const Acts& x, int t, int G, float* y, int rows, int stride, const uint8_t* next,
                  int share) {
    constexpr int BLOCK = block_of(4);
    const __m512i low = _mm512_set1_epi8(15);
    __m512 total[N];
    for (int i = 0; i < N; i++) total[i] = _mm512_setzero_ps();
    for (int g = 0; g < G; g++, w += BLOCK) {
        __m512i u[8];
        for (int i = 0; i < 4; i++) {
            const __m512i both = _mm512_loadu_si512(w + 64 * i);
            u[2 * i] = _mm512_and_si512(both, low);
            u[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        }
        for (int i = 0; i < share; i += 64) _mm_prefetch((const char*)(next + size_t(g) * share + i), HINT);
        const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)(w + 256)));
        const __m512 m = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)(w + 256 + 32)));
        for (int i = 0; i < N; i++) {
            const size_t at = size_t(t + i) * G + g;
            const int32_t* a = (const int32_t*)(x.q.data() + at * SPAN);
            __m512i one = _mm512_setzero_si512(), two = _mm512_setzero_si512();
            for (int j = 0; j < 8; j += 2) {
                one = _mm512_dpbusd_epi32(one, u[j], _mm512_set1_epi32(a[j]));
                two = _mm512_dpbusd_epi32(two, u[j + 1], _mm512_set1_epi32(a[j + 1]));
            }
            const __m512 said = _mm512_cvtepi32_ps(_mm512_add_epi32(one, two));
            total[i] = _mm512_fmadd_ps(said, _mm512_mul_ps(d, _mm512_set1_ps(x.scale[at])), total[i]);
            total[i] = _mm512_fmadd_ps(m, _mm512_set1_ps(x.sum[at]), total[i]);
        }
    }
    const __mmask16 there = rows >= ROWS ? 0xffff : (1 << rows) - 1;
    for (int i = 0; i < N; i++) _mm512_mask_storeu_ps(y + size_t(t + i) * stride, there, total[i]);
}

// The last few of the activations, n <= N, in one tile: the weights are unpacked once for all of them.
template <int N>
inline void rest4(int n, const uint8_t* w, const Acts& x, int t, int G, float* y, int rows, int stride) {
    if constexpr (N > 0)
        n == N ? tile4<N>(w, x, t, G, y, rows, stride, nullptr, 0) : rest4<N - 1>(n, w, x, t, G, y, rows, stride);
}

void product4(const uint8_t* w, const Acts& x, int T, int N, int K, float* y, int threads) {
    constexpr int BLOCK = block_of(4);
    const int G = groups_of(4, K), blocks = (N + ROWS - 1) / ROWS;
    const size_t size = size_t(G) * BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int b = 0; b < blocks; b++) {
        const uint8_t* at = w + b * size;
        float* to = y + b * ROWS;
        const int rows = N - b * ROWS;
        int t = 0;
        // Later tiles have their weights in the cache: meanwhile those of the next rows come, a share with each. A single one
        // looks ahead; one of fewer cells is so quick that the processor's own guesses serve it better.
        const int tiles = T / TILE, share = tiles < 2 ? BLOCK : (BLOCK / 64 + tiles - 2) / (tiles - 1) * 64;
        for (; t + TILE <= T; t += TILE) {
            const int later = t / TILE - 1;
            const uint8_t* next = tiles < 2 ? at + AHEAD * BLOCK : at + size + size_t(later) * G * share;
            tile4<TILE>(at, x, t, G, to, rows, N, next, tiles > 1 && later < 0 ? 0 : share);
        }
        rest4<TILE - 1>(T - t, at, x, t, G, to, rows, N);
    }
}

template <int N, int R>
inline void written(const __m512 (&total)[N][R], float* y, int rows, int stride) {
#pragma GCC unroll 2
    for (int r = 0; r < R; r++) {
        const int left = rows - r * ROWS;
        const __mmask16 there = left >= ROWS ? 0xffff : left > 0 ? (1 << left) - 1 : 0;
#pragma GCC unroll 6
        for (int i = 0; i < N; i++) _mm512_mask_storeu_ps(y + size_t(i) * stride + r * ROWS, there, total[i][r]);
    }
}

// As `tile4`, of R times sixteen rows, `size` bytes apart: what is loaded of weights or activations serves all of the others.
// FEW: how many activations at once. STEPS: of a group, with each of which `share` bytes are fetched; parted: with how many of
// the parts that activations come in.
struct Eighths {
    static constexpr int FEW = 4, BITS = 8, STEPS = 1;
    static int parted(int parts) { return parts; }
    template <int N, int R>
    __attribute__((noinline)) static void tile(const uint8_t* w, size_t size, const Acts& x, int t, int K, float* y, int rows,
                                               int stride, const uint8_t* next, int share) {
        constexpr int BLOCK = block_of(8), PARTS = group_of(8) / SPAN, FOURS = SPAN / 4;
        const int G = groups_of(8, K), S = x.spans;
        const int8_t* q = x.q.data() + size_t(t) * S * SPAN;
        const float* scale = x.scale.data() + size_t(t) * S;
        const int32_t* less = x.less.data() + size_t(t) * S;
        __m512 total[N][R];
#pragma GCC unroll 4
        for (int i = 0; i < N; i++)
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) total[i][r] = _mm512_setzero_ps();
        for (int g = 0; g < G; g++, w += BLOCK, next += share) {
            for (int i = 0; i < share; i += 64) _mm_prefetch((const char*)next + i, HINT);
            __m512 whole[N][R];
#pragma GCC unroll 2
            for (int p = 0; p < PARTS; p++, q += SPAN, scale++, less++) {
                __m512i s[N][R];
#pragma GCC unroll 4
                for (int i = 0; i < N; i++)
#pragma GCC unroll 2
                    for (int r = 0; r < R; r++) s[i][r] = _mm512_set1_epi32(less[size_t(i) * S]);
#pragma GCC unroll 8
                for (int j = 0; j < FOURS; j++) {
                    __m512i u[R];
#pragma GCC unroll 2
                    for (int r = 0; r < R; r++) u[r] = _mm512_loadu_si512(w + r * size + 64 * (p * FOURS + j));
#pragma GCC unroll 4
                    for (int i = 0; i < N; i++) {
                        int32_t four;
                        std::memcpy(&four, q + size_t(i) * S * SPAN + 4 * j, 4);
#pragma GCC unroll 2
                        for (int r = 0; r < R; r++) s[i][r] = _mm512_dpbusd_epi32(s[i][r], u[r], _mm512_set1_epi32(four));
                    }
                }
#pragma GCC unroll 4
                for (int i = 0; i < N; i++)
#pragma GCC unroll 2
                    for (int r = 0; r < R; r++) {
                        const __m512 said = _mm512_cvtepi32_ps(s[i][r]), by = _mm512_set1_ps(scale[size_t(i) * S]);
                        whole[i][r] = p ? _mm512_fmadd_ps(said, by, whole[i][r]) : _mm512_mul_ps(said, by);
                    }
            }
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) {
                const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)(w + r * size + BLOCK - 2 * ROWS)));
#pragma GCC unroll 4
                for (int i = 0; i < N; i++) total[i][r] = _mm512_fmadd_ps(whole[i][r], d, total[i][r]);
            }
        }
        written(total, y, rows, stride);
    }
};

#ifdef __AVX512BF16__
struct Sixteenths {
    static constexpr int FEW = 6, BITS = 16, STEPS = group_of(16) / 2;
    static int parted(int parts) { return parts == 2 ? 2 : 1; }  // of more the first alone: as was timed
    template <int N, int R>
    __attribute__((noinline)) static void tile(const uint8_t* w, size_t size, const Acts& acts, int t, int K, float* y, int rows,
                                               int stride, const uint8_t* next, int share) {
        const uint16_t* x = acts.wide.data() + size_t(t) * K;
        __m512 total[N][R];
#pragma GCC unroll 6
        for (int i = 0; i < N; i++)
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) total[i][r] = _mm512_setzero_ps();
        for (int k = 0; k < K; k += 2, w += 64, next += share) {
            for (int i = 0; i < share; i += 64) _mm_prefetch((const char*)next + i, HINT);
            __m512bh u[R];
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) u[r] = (__m512bh)_mm512_loadu_si512(w + r * size);
#pragma GCC unroll 6
            for (int i = 0; i < N; i++) {
                int32_t two;
                std::memcpy(&two, x + size_t(i) * K + k, 4);
                const __m512bh one = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 2
                for (int r = 0; r < R; r++) total[i][r] = _mm512_dpbf16_ps(total[i][r], one, u[r]);
            }
        }
        written(total, y, rows, stride);
    }
};
#endif

template <class Kind, int N>
void tiled(int n, int bands, const uint8_t* w, size_t size, const Acts& x, int t, int K, float* y, int rows, int stride,
           const uint8_t* next, int share) {
    if constexpr (N > 0) {
        if (n < N) return tiled<Kind, N - 1>(n, bands, w, size, x, t, K, y, rows, stride, next, share);
        bands == BANDS ? Kind::template tile<N, BANDS>(w, size, x, t, K, y, rows, stride, next, share)
                       : Kind::template tile<N, 1>(w, size, x, t, K, y, rows, stride, next, share);
    }
}

template <class Kind>
void banded(const uint8_t* w, const Acts& x, int T, int N, int K, float* y, int threads) {
    if (T == 0) return;
    constexpr int BLOCK = block_of(Kind::BITS), FEW = Kind::FEW;
    const int G = groups_of(Kind::BITS, K), blocks = (N + ROWS - 1) / ROWS, parts = (T + FEW - 1) / FEW;
    const size_t size = size_t(G) * BLOCK;
    // The next rows come meanwhile: with the first `over` parts of this one, a share with each step.
    const int over = Kind::parted(parts), steps = G * Kind::STEPS;
    const int share = (BANDS * BLOCK / Kind::STEPS / 64 + over - 1) / over * 64;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int b = 0; b < blocks; b += BANDS) {
        const uint8_t* at = w + b * size;
        for (int p = 0, t = 0; p < parts; p++) {
            const int n = (T - t + parts - p - 1) / (parts - p);  // as even as can be
            tiled<Kind, FEW>(n, std::min(BANDS, blocks - b), at, size, x, t, K, y + size_t(t) * N + b * ROWS, N - b * ROWS, N,
                             at + BANDS * size + size_t(p) * steps * share, p < over ? share : 0);
            t += n;
        }
    }
}

void product(int bits, const uint8_t* w, const Acts& x, int T, int N, int K, float* y, int threads) {
    if (bits == 4) product4(w, x, T, N, K, y, threads);
    if (bits == 8) banded<Eighths>(w, x, T, N, K, y, threads);
#ifdef __AVX512BF16__
    if (bits == 16) banded<Sixteenths>(w, x, T, N, K, y, threads);
#endif
}

void normed(const float* h, const float* weight, float eps, int T, int W, float* x) {
    for (int t = 0; t < T; t++, h += W, x += W) {
        float s = 0;
        for (int i = 0; i < W; i++) s += h[i] * h[i];
        const float r = 1.f / std::sqrt(s / W + eps);
        for (int i = 0; i < W; i++) x[i] = h[i] * r * weight[i];
    }
}

struct Sizes {
    int32_t depth, width, head, heads, kv_heads, hidden, bits;
    float eps;
};

struct Layer {
    const float *before, *middle;
    const uint8_t *qkv, *out, *up, *down;
};

using half = uint16_t;  // what the memory holds: float16
constexpr float HIGH = 65504.f;
constexpr int SHARED = 4;  // queries that meet a key or a value at once

inline __m512 wide(const half* x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)x)); }

void narrowed(const float* x, int n, half* to) {
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 in = _mm512_min_ps(_mm512_max_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(-HIGH)), _mm512_set1_ps(HIGH));
        _mm256_storeu_si256((__m256i*)(to + i), _mm512_cvtps_ph(in, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    for (; i < n; i++) to[i] = _cvtss_sh(std::fmin(std::fmax(x[i], -HIGH), HIGH), _MM_FROUND_TO_NEAREST_INT);
}

// Keys [n, D] as blocks of sixteen, [n / 16, D, 16], so that a query meets sixteen at once.
void turned(const half* k, int n, int D, float* to) {
    for (int j = 0; j < n; j++)
        for (int i = 0; i < D; i++) to[(size_t(j / 16) * D + i) * 16 + j % 16] = _cvtsh_ss(k[size_t(j) * D + i]);
}

// Four registers whose sums are brought together by one tree.
inline __m128 summed(const __m512* s) {
    const __m512 one = _mm512_add_ps(_mm512_unpacklo_ps(s[0], s[1]), _mm512_unpackhi_ps(s[0], s[1]));
    const __m512 two = _mm512_add_ps(_mm512_unpacklo_ps(s[2], s[3]), _mm512_unpackhi_ps(s[2], s[3]));
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(one), _mm512_castps_pd(two));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(one), _mm512_castps_pd(two));
    const __m512 all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    const __m256 part = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(part), _mm256_extractf128_ps(part, 1));
}

// p [n] = the products of a query with turned keys; p has room for a whole step beyond n.
void compared(const float* q, const float* kt, int n, int D, float scale, float* p) {
    const __m512 by = _mm512_set1_ps(scale);
    for (int j = 0; j < n; j += 64) {
        __m512 s[4];
        for (int b = 0; b < 4; b++) s[b] = _mm512_setzero_ps();
        const float* at = kt + size_t(j) * D;
        for (int i = 0; i < D; i++) {
            const __m512 qi = _mm512_set1_ps(q[i]);
            for (int b = 0; b < 4; b++) s[b] = _mm512_fmadd_ps(qi, _mm512_loadu_ps(at + (size_t(b) * D + i) * 16), s[b]);
        }
        for (int b = 0; b < 4; b++) _mm512_storeu_ps(p + j + 16 * b, _mm512_mul_ps(s[b], by));
    }
}

inline void fetched(const half* x, int n) {
    for (int i = 0; i < n; i += 32) _mm_prefetch((const char*)(x + i), _MM_HINT_T0);
}

// p [E, n], rows `room` apart, = the products of E queries, D apart, with the keys. next: what will be wanted soon, as large
// as the keys.
template <int E>
void compared(const float* q, const half* k, const half* next, int n, int D, float scale, float* p, int room) {
    int j = 0;
    for (; j + 4 <= n && D % 16 == 0; j += 4) {
        fetched(next + size_t(j) * D, 4 * D);
        __m512 s[E][4];
        for (int e = 0; e < E; e++)
            for (int b = 0; b < 4; b++) s[e][b] = _mm512_setzero_ps();
        for (int i = 0; i < D; i += 16)
            for (int b = 0; b < 4; b++) {
                const __m512 key = wide(k + size_t(j + b) * D + i);
                for (int e = 0; e < E; e++) s[e][b] = _mm512_fmadd_ps(_mm512_loadu_ps(q + e * D + i), key, s[e][b]);
            }
        for (int e = 0; e < E; e++) _mm_storeu_ps(p + e * room + j, _mm_mul_ps(summed(s[e]), _mm_set1_ps(scale)));
    }
    for (; j < n; j++)
        for (int e = 0; e < E; e++) {
            float s = 0;
            for (int i = 0; i < D; i++) s += q[e * D + i] * _cvtsh_ss(k[size_t(j) * D + i]);
            p[e * room + j] = s * scale;
        }
}

// y [E, D] = the values [n, D], of which the first c lie at `shared`, by the weights p [E, n], rows `room` apart. next: see
// `compared`.
template <int E>
void mixed(const float* p, const half* shared, int c, const half* v, const half* next, int n, int D, float* y, int room) {
    int from = 0;
    for (; from + 64 <= D; from += 64) {
        __m512 a[E][4];
        for (int e = 0; e < E; e++)
            for (int i = 0; i < 4; i++) a[e][i] = _mm512_setzero_ps();
        for (int j = 0; j < n; j++) {
            const half* at = (j < c ? shared : v) + size_t(j) * D;
            if (j >= c) fetched(next + size_t(j) * D + from, 64);
            for (int i = 0; i < 4; i++) {
                const __m512 value = wide(at + from + 16 * i);
                for (int e = 0; e < E; e++) a[e][i] = _mm512_fmadd_ps(_mm512_set1_ps(p[e * room + j]), value, a[e][i]);
            }
        }
        for (int e = 0; e < E; e++)
            for (int i = 0; i < 4; i++) _mm512_storeu_ps(y + e * D + from + 16 * i, a[e][i]);
    }
    for (int e = 0; e < E; e++) {
        for (int i = from; i < D; i++) y[e * D + i] = 0;
        for (int j = 0; j < n && from < D; j++)
            for (int i = from; i < D; i++) y[e * D + i] += p[e * room + j] * _cvtsh_ss((j < c ? shared : v)[size_t(j) * D + i]);
    }
}

struct Past {  // keys and values of a head, [n, D]
    const half *k, *v;
};

// E queries against the same n keys and values, the first c of which are those of `shared`; kt: the keys turned, or null;
// next: the keys of other queries, which will be wanted soon. Weights of the keys go through `p`.
template <int E>
void attended(const float* q, Past own, Past shared, int c, const float* kt, const half* next, int n, int D, float* p, int room,
              float* y) {
    const float scale = 1.f / std::sqrt(float(D));
    if (kt == nullptr) {
        const size_t from = size_t(c) * D;
        compared<E>(q, shared.k, shared.v, c, D, scale, p, room);
        compared<E>(q, own.k + from, own.v + from, n - c, D, scale, p + c, room);
    }
    float over[E];
    for (int e = 0; e < E; e++) {
        float *row = p + e * room, most = -1e30f, sum = 0;
        if (kt != nullptr) compared(q + e * D, kt, n, D, scale, row);
        for (int j = 0; j < n; j++) most = row[j] > most ? row[j] : most;
        for (int j = 0; j < n; j++) row[j] = std::exp(row[j] - most), sum += row[j];
        over[e] = 1.f / sum;
    }
    mixed<E>(p, shared.v, c, own.v, next, n, D, y, room);
    for (int e = 0; e < E; e++)
        for (int i = 0; i < D; i++) y[e * D + i] *= over[e];
}

}  // namespace

extern "C" {

// Whether weights of 16 bits are served.
int genus_halves() {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

// Weights w [N, K], float32 or bfloat16, each rounded to the nearest that its bits can say, and laid as the tiles read them;
// beyond row N there are zeros.
void genus_pack(int bits, const void* w, int bf16, int64_t N, int64_t K, uint8_t* to, int threads) {
    const auto read = [&](int64_t at) {
        if (!bf16) return _mm512_loadu_ps(static_cast<const float*>(w) + at);
        const __m256i some = _mm256_loadu_si256((const __m256i*)(static_cast<const uint16_t*>(w) + at));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(some), 16));
    };
    const int64_t size = block_of(bits), group = group_of(bits), G = groups_of(bits, K);
    const __m512i rows = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(64));
    const __m512i last = _mm512_set1_epi32((1 << bits) - 1);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t b = 0; b < (N + ROWS - 1) / ROWS; b++)
        for (int64_t g = 0; g < G; g++) {
            uint8_t *at = to + (b * G + g) * size, *scales = at + group * ROWS * bits / 8;
            alignas(64) uint8_t q[ROWS][64] = {};  // the columns of a group, row by row
            const int parts = int(std::min(group, K - g * group)) / 16, there = int(std::min<int64_t>(ROWS, N - b * ROWS));
            for (int r = 0; r < there; r++) {
                __m512 x[4], least = _mm512_set1_ps(HUGE_VALF), most = _mm512_set1_ps(-HUGE_VALF);
                for (int p = 0; p < parts; p++) {
                    x[p] = read((b * ROWS + r) * K + g * group + 16 * p);
                    least = _mm512_min_ps(least, x[p]), most = _mm512_max_ps(most, x[p]);
                }
#ifdef __AVX512BF16__
                if (bits == 16) {
                    for (int p = 0; p < parts; p++) _mm256_store_si256((__m256i*)(q[r] + 32 * p), (__m256i)_mm512_cvtneps_pbh(x[p]));
                    continue;
                }
#endif
                const float low = _mm512_reduce_min_ps(least), high = _mm512_reduce_max_ps(most);
                // Divisions that stay what they are: the compiler makes others a product with the inverse.
                const __m128 span = bits == 8 ? _mm_div_ss(_mm_set_ss(std::max(high, -low)), _mm_set_ss(MIDDLE - 1))
                                              : _mm_div_ss(_mm_set_ss(high - low), _mm_set_ss(15));
                const uint16_t d = _mm_extract_epi16(_mm_cvtps_ph(span, 0), 0), m = _cvtss_sh(low, 0);
                std::memcpy(scales + 2 * r, &d, 2);
                if (bits == 4) std::memcpy(scales + 2 * ROWS + 2 * r, &m, 2);
                const __m512 step = _mm512_set1_ps(d ? _cvtsh_ss(d) : 1.f);
                const __m512 from = _mm512_set1_ps(bits == 8 ? -MIDDLE * _cvtsh_ss(d) : _cvtsh_ss(m));
                for (int p = 0; p < parts; p++) {
                    const __m512 steps = _mm512_div_round_ps(_mm512_sub_ps(x[p], from), step, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
                    const __m512i in = _mm512_min_epi32(_mm512_max_epi32(_mm512_cvtps_epi32(steps), _mm512_setzero_si512()), last);
                    _mm_store_si128((__m128i*)(q[r] + 16 * p), _mm512_cvtepi32_epi8(in));
                }
            }
            const auto four = [&](int i) { return _mm512_i32gather_epi32(rows, q[0] + 4 * i, 1); };  // bytes of each row
            for (int i = 0; i < (bits == 4 ? 4 : 16); i++)
                _mm512_storeu_si512(at + 64 * i, bits == 4 ? _mm512_or_si512(four(2 * i), _mm512_slli_epi32(four(2 * i + 1), 4)) : four(i));
        }
}

// y [T, N] = x [T, K] times the packed rows.
void genus_product(int bits, const uint8_t* w, const float* x, int T, int N, int K, float* y, int threads) {
    Acts acts;
    acts.read(x, T, K, bits);
    product(bits, w, acts, T, N, K, y, threads);
}

// Vectors h [B, n, width] through all layers, in place. k, v: float16, [layers, B, kv heads, room, head], of which row b holds
// seen[b] places; n further ones are written. The first common[b] places of row b hold what those of row like[b] do, which
// then are read: once for all that have them in common. cos, sin: [B, n, head], sin with the sign of the rotation.
void genus_layers(const Sizes* z, const Layer* layers, float* h, int B, int n, half* k, half* v, int64_t room,
                  const int32_t* seen, const int32_t* like, const int32_t* common, const float* cos, const float* sin,
                  int threads) {
    const int T = B * n, W = z->width, D = z->head, H = z->heads, V = z->kv_heads, F = z->hidden, middle = D / 2;
    const int Q = (H + 2 * V) * D;
    std::vector<float> x(size_t(T) * (W > H * D ? W : H * D)), qkv(size_t(T) * Q), a(size_t(T) * H * D), y(size_t(T) * W);
    std::vector<float> up(size_t(T) * 2 * F), f(size_t(T) * F), keys;
    Acts acts;
    for (int l = 0; l < z->depth; l++) {
        const Layer& layer = layers[l];
        normed(h, layer.before, z->eps, T, W, x.data());
        acts.read(x.data(), T, W, z->bits);
        product(z->bits, layer.qkv, acts, T, Q, W, qkv.data(), threads);
        for (int t = 0; t < T; t++) {
            const int b = t / n, place = seen[b] + t % n;
            float* row = qkv.data() + size_t(t) * Q;
            const float *c = cos + size_t(t) * D, *s = sin + size_t(t) * D;
            for (int j = 0; j < H + V; j++) {
                float* p = row + j * D;
                for (int i = 0; i < middle; i++) {
                    const float one = p[i], two = p[i + middle];
                    p[i] = one * c[i] + two * s[i];
                    p[i + middle] = two * c[i + middle] + one * s[i + middle];
                }
            }
            for (int j = 0; j < V; j++) {
                const size_t at = (((size_t(l) * B + b) * V + j) * room + place) * D;
                narrowed(row + (H + j) * D, D, k + at);
                narrowed(row + (H + V + j) * D, D, v + at);
            }
        }
        int longest = 0;
        for (int b = 0; b < B; b++) longest = seen[b] + n > longest ? seen[b] + n : longest;
        const size_t each = size_t((longest + 63) / 64) * 64 * D;  // of the turned keys of one head
        const bool turn = n >= TURN;
        if (turn) {
            keys.resize(size_t(B) * V * each);
            for (int i = 0; i < B * V; i++)
                turned(k + (size_t(l) * B * V + i) * room * D, seen[i / V] + n, D, keys.data() + i * each);
        }
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
            const int line = longest + 64, each_kv = H / V, parts = (each_kv + SHARED - 1) / SHARED;
            std::vector<float> p(size_t(line) * SHARED);
            const auto head = [&](int b, int g) {
                const size_t at = ((size_t(l) * B + b) * V + g) * room * D;
                return Past{k + at, v + at};
            };
            const int every = T * V * parts;
#pragma omp for schedule(dynamic, 8)
            for (int i = 0; i < every; i++) {  // of a head row by row: what rows have in common stays near
                const int t = i % T, g = i / T / parts, first = g * each_kv + i / T % parts * SHARED, b = t / n;
                const int few = (g + 1) * each_kv - first < SHARED ? (g + 1) * each_kv - first : SHARED;
                const float* kt = turn ? keys.data() + (size_t(b) * V + g) * each : nullptr;
                const int c = common[b] / 4 * 4;  // four keys are met at once, and sums do not depend on what is shared
                const int then = i + 1 < every ? i + 1 : i;
                const auto go = few == 4 ? attended<4> : few == 3 ? attended<3> : few == 2 ? attended<2> : attended<1>;
                go(qkv.data() + size_t(t) * Q + first * D, head(b, g), head(like[b], g), c, kt, head(then % T / n, then / T / parts).k,
                   seen[b] + t % n + 1, D, p.data(), line, a.data() + size_t(t) * H * D + first * D);
            }
        }
        acts.read(a.data(), T, H * D, z->bits);
        product(z->bits, layer.out, acts, T, W, H * D, y.data(), threads);
        for (size_t i = 0; i < size_t(T) * W; i++) h[i] += y[i];
        normed(h, layer.middle, z->eps, T, W, x.data());
        acts.read(x.data(), T, W, z->bits);
        product(z->bits, layer.up, acts, T, 2 * F, W, up.data(), threads);
        for (int t = 0; t < T; t++) {
            const float *u = up.data() + size_t(t) * 2 * F, *g = u + F;
            float* to = f.data() + size_t(t) * F;
            for (int i = 0; i < F; i++) to[i] = u[i] * g[i] / (1.f + std::exp(-g[i]));
        }
        acts.read(f.data(), T, F, z->bits);
        product(z->bits, layer.down, acts, T, W, F, y.data(), threads);
        for (size_t i = 0; i < size_t(T) * W; i++) h[i] += y[i];
    }
}
}
