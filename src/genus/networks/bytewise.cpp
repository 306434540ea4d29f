// Products of bytes while a network learns: numbers of 16 bits are rounded, multiplied as integers (VNNI) and given back
// as numbers of 16 bits, all in one pass. C interface alone; `bytewise.py` compiles, loads and describes it.
//
// In a product a b the left bytes are stored plus 128, as the instruction wants one side without a sign; what that adds
// is 128 times a column's sum of b, taken off at the end. Sixteen columns of b make a panel, in it four numbers that are
// multiplied after another lie together; so does each row of a.
#include "near.hpp"

#include <algorithm>

namespace {

constexpr int ROWS = 8, PANELS = 3;   // of a tile: its sums stay in registers
constexpr int64_t NEAR = 64;          // rows that are rounded together, and stay near the processor
constexpr int64_t GROUP = 128;        // rows of an outer product that go through it together
constexpr int64_t BAND = 128;         // columns that are rounded together
constexpr int64_t AHEAD = 8;           // rows that are fetched before they are needed
constexpr float TINY = 1e-30f, MOST = 127.f;

inline __m512i rounded(const bf16* x, __m512 by) { return _mm512_cvtps_epi32(_mm512_mul_ps(number(x), by)); }

// The largest of the numbers whose bits, but for the sign, were compared as integers: the same order.
inline float largest(__m512i bits) {
    const __m512i both = _mm512_max_epu32(_mm512_and_si512(bits, _mm512_set1_epi32(0xffff)), _mm512_srli_epi32(bits, 16));
    return std::max(TINY, _mm512_reduce_max_ps(_mm512_castsi512_ps(_mm512_slli_epi32(both, 16))));
}

inline __m512i size(__m512i bits) { return _mm512_and_si512(bits, _mm512_set1_epi16(0x7fff)); }

// One row of k numbers as bytes plus `shift`; returns its scale.
inline float row(const bf16* x, int64_t k, uint8_t* q, int shift) {
    __m512i most = _mm512_setzero_si512();
    for (int64_t j = 0; j + 16 < k; j += 32) most = _mm512_max_epu16(most, size(_mm512_loadu_si512(x + j)));
    if (k % 32) most = _mm512_max_epu16(most, size(_mm512_maskz_loadu_epi16(0xffff, x + k - 16)));
    const float a = largest(most);
    const __m512 by = _mm512_set1_ps(MOST / a);
    const __m512i more = _mm512_set1_epi32(shift);
    for (int64_t j = 0; j < k; j += 16) {
        const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded(x + j, by), more));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(q + j), bytes);
    }
    return a / MOST;
}

// Columns, BAND at most and a multiple of sixteen, of m rows `wide` numbers apart, as panels of bytes: [m / 4, 16, 4] each,
// `deep` rows of room, stored plus 128 if LEFT. Their scales s, and unless LEFT 128 times their sums.
template <bool LEFT>
inline void panels(const bf16* x, int64_t m, int64_t wide, int64_t columns, int64_t deep, int8_t* q, float* s,
                   int32_t* sums) {
    bf16 most[BAND] = {};
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < columns; j += 32) {
            const bf16* at = x + i * wide + j;
            const __mmask32 there = j + 32 <= columns ? 0xffffffff : 0xffff;
            __builtin_prefetch(at + AHEAD * wide);  // reads nothing
            const __m512i bits = _mm512_max_epu16(_mm512_loadu_si512(most + j), size(_mm512_maskz_loadu_epi16(there, at)));
            _mm512_storeu_si512(most + j, bits);
        }
    for (int64_t j = 0; j < columns; j += 16) {
        const __m512 high = _mm512_max_ps(number(most + j), _mm512_set1_ps(TINY));
        const __m512 by = _mm512_div_ps(_mm512_set1_ps(MOST), high);
        _mm512_storeu_ps(s + j, _mm512_div_ps(high, _mm512_set1_ps(MOST)));
        __m512i sum = _mm512_setzero_si512();
        for (int64_t i = 0; i < m; i += 4) {
            __m512i four = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (int r = 0; r < 4; ++r) {
                const __m512i row = i + r < m ? rounded(x + (i + r) * wide + j, by) : _mm512_setzero_si512();
                // the row where its byte and the later ones are, what was there before elsewhere
                four = _mm512_ternarylogic_epi32(four, _mm512_slli_epi32(row, 8 * r),
                                                 _mm512_set1_epi32(0xffffffffu << 8 * r), 0xd8);
            }
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), four);
            if (LEFT) four = _mm512_xor_si512(four, _mm512_set1_epi8(-128));
            _mm512_storeu_si512(q + j * deep + i * 16, four);
        }
        if (!LEFT) _mm512_storeu_si512(sums + j, _mm512_slli_epi32(sum, 7));
    }
}

// sums [ROWS, V] registers of `steps` fours, less what is over: rows of a `apart` bytes from each other and their fours
// `next` bytes; b: V panels `wide` bytes from each other.
template <int V>
inline void tile(const uint8_t* a, int64_t apart, int64_t next, const int8_t* b, int64_t wide, int64_t steps,
                 const int32_t* over, __m512i (&sums)[ROWS][V]) {
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) {
        const __m512i less = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(over + 16 * v));
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) sums[r][v] = less;
    }
    for (int64_t i = 0; i < steps; ++i) {
        __m512i right[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) right[v] = _mm512_loadu_si512(b + v * wide + i * 64);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const __m512i left = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(a + r * apart + i * next));
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], left, right[v]);
        }
    }
}

// The same in memory, [ROWS, 16 V]. Not inlined: where it knows the strides the compiler spills the sums.
template <int V>
__attribute__((noinline)) void tiled(const uint8_t* a, int64_t apart, int64_t next, const int8_t* b, int64_t wide,
                                     int64_t steps, const int32_t* over, int32_t* to) {
    __m512i sums[ROWS][V];
    tile<V>(a, apart, next, b, wide, steps, over, sums);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) _mm512_storeu_si512(to + (r * V + v) * 16, sums[r][v]);
}

// A register of sums as numbers, but for the scale of its row.
inline __m512 scaled(__m512i sums, const float* s) { return _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(s)); }

// SQUARED: relu(y)^2 of what comes out.
template <int V, bool SQUARED>
inline void numbers(const uint8_t* a, int64_t apart, const float* own, const int8_t* b, int64_t k, const float* s,
                    const int32_t* over, bf16* y, int64_t n, int64_t rows) {
    __m512i sums[ROWS][V];
    tile<V>(a, apart, 4, b, k * 16, k / 4, over, sums);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        if (r >= rows) continue;
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) {
            __m512 one = _mm512_mul_ps(scaled(sums[r][v], s + 16 * v), _mm512_set1_ps(own[r]));
            if (SQUARED) one = _mm512_max_ps(one, _mm512_setzero_ps()), one = _mm512_mul_ps(one, one);
            put(y + r * n + 16 * v, one);
        }
    }
}

// y [ROWS, 16 V] float32, rows 16 PANELS apart, += the sums of a block times the scales of its rows and columns.
template <int V>
inline void added(const uint8_t* a, const float* own, const int8_t* b, int64_t steps, int64_t wide, const float* s,
                  const int32_t* over, float* y) {
    int32_t sums[ROWS * V * 16];
    tiled<V>(a, 4, 64, b, wide, steps, over, sums);
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < V; ++v) {
            float* to = y + r * 16 * PANELS + 16 * v;
            const __m512 more = scaled(_mm512_loadu_si512(sums + (r * V + v) * 16), s + 16 * v);
            _mm512_storeu_ps(to, _mm512_fmadd_ps(more, _mm512_set1_ps(own[r]), _mm512_loadu_ps(to)));
        }
}

}  // namespace

extern "C" {

// w [n, k] bfloat16 for x w^T: panels q [n / 16, k / 4, 16, 4], a scale a row s [n], 128 times the row's sum.
void genus_turned(const bf16* w, int64_t n, int64_t k, int8_t* q, float* s, int32_t* sums, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t p = 0; p < n / 16; ++p) {
        static thread_local Room kept;
        uint8_t* bytes = kept.of<uint8_t>(16 * k);
        int8_t* to = q + p * 16 * k;
        for (int64_t i = 0; i < 16; ++i) s[p * 16 + i] = row(w + (p * 16 + i) * k, k, bytes + i * k, 0);
        int64_t j = 0;
        for (; j + 64 <= k; j += 64) turned16(bytes + j, k, reinterpret_cast<int32_t*>(to + j * 16));
        for (; j < k; j += 4)
            for (int64_t i = 0; i < 16; ++i) std::copy_n(bytes + i * k + j, 4, to + j * 16 + i * 4);
        __m512i sum = _mm512_setzero_si512();
        for (j = 0; j < k * 16; j += 64) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_loadu_si512(to + j));
        _mm512_storeu_si512(sums + p * 16, _mm512_slli_epi32(sum, 7));
    }
}

// x [m, k] bfloat16 for a product over its rows: panels q [k / 16, m / 4, 16, 4], a scale a column s [k], 128 times the
// column's sum. m is a multiple of four.
void genus_straight(const bf16* x, int64_t m, int64_t k, int8_t* q, float* s, int32_t* sums, int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t p = 0; p < k; p += 32) panels<false>(x + p, m, k, std::min<int64_t>(32, k - p), m, q + p * m, s + p, sums + p);
}

// x [m, k] bfloat16, rounded row by row, by panels of n columns: y [m, n] bfloat16, or relu(y)^2.
void genus_product(const bf16* x, int64_t m, int64_t k, const int8_t* q, const float* s, const int32_t* sums,
                   int64_t n, bf16* y, int squared, int threads) {
    const int64_t apart = k + 64;  // not a power of two
    using Go = decltype(&numbers<1, false>);
    const Go ways[2][PANELS] = {{numbers<1, false>, numbers<2, false>, numbers<3, false>},
                                {numbers<1, true>, numbers<2, true>, numbers<3, true>}};
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        static thread_local Room kept;
        uint8_t* bytes = kept.of<uint8_t>(NEAR * apart);
        float own[NEAR];
#pragma omp for schedule(dynamic)
        for (int64_t start = 0; start < m; start += NEAR) {
            const int64_t rows = std::min(NEAR, m - start);
            for (int64_t i = 0; i < rows; ++i) own[i] = row(x + (start + i) * k, k, &bytes[i * apart], 128);
            for (int64_t p = 0; p < n / 16; p += PANELS) {
                const int64_t few = std::min<int64_t>(PANELS, n / 16 - p);
                for (int64_t i = 0; i < rows; i += ROWS) {
                    ways[squared != 0][few - 1](&bytes[i * apart], apart, own + i, q + p * 16 * k, k, s + p * 16, sums + p * 16,
                       y + (start + i) * n + p * 16, n, std::min<int64_t>(ROWS, rows - i));
                }
            }
        }
    }
}

// g [m, n]^T x [m, k], both bfloat16 and rounded in blocks of rows, column by column: y [n, k] bfloat16.
void genus_outer(const bf16* g, const bf16* x, int64_t m, int64_t n, int64_t k, int64_t block, bf16* y,
                 int threads) {
    const int64_t blocks = (m + block - 1) / block, deep = (block + 3) / 4 * 4;
    static thread_local Room one, two, three, four, five;
    int8_t *left = one.of<int8_t>(blocks * n * deep), *right = two.of<int8_t>(blocks * k * deep);
    float *mine = three.of<float>(blocks * n), *theirs = four.of<float>(blocks * k);
    int32_t* over = five.of<int32_t>(blocks * k);
    const int64_t bands = (n + GROUP - 1) / GROUP, strips = (k / 16 + PANELS - 1) / PANELS;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for collapse(2) schedule(dynamic) nowait
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t p = 0; p < n; p += BAND)
                panels<true>(g + b * block * n + p, std::min(block, m - b * block), n, std::min(BAND, n - p), deep,
                             &left[(b * n + p) * deep], &mine[b * n + p], nullptr);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t p = 0; p < k; p += BAND)
                panels<false>(x + b * block * k + p, std::min(block, m - b * block), k, std::min(BAND, k - p), deep,
                              &right[(b * k + p) * deep], &theirs[b * k + p], &over[b * k + p]);
        static thread_local Room kept;
        float* sums = kept.of<float>(GROUP * 16 * PANELS);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t band = 0; band < bands; ++band)
            for (int64_t strip = 0; strip < strips; ++strip) {
                const int64_t from = band * GROUP, rows = std::min(GROUP, n - from), p = strip * PANELS;
                const int64_t few = std::min<int64_t>(PANELS, k / 16 - p);
                const auto go = few == 3 ? added<3> : few == 2 ? added<2> : added<1>;
                std::fill(sums, sums + GROUP * 16 * PANELS, 0.f);
                for (int64_t b = 0; b < blocks; ++b) {
                    const int64_t steps = (std::min(block, m - b * block) + 3) / 4, at = b * k + p * 16;
                    for (int64_t i = 0; i < rows; i += ROWS)
                        go(reinterpret_cast<const uint8_t*>(&left[(b * n + (from + i) / 16 * 16) * deep + (from + i) % 16 * 4]), &mine[b * n + from + i],
                           &right[at * deep], steps, 16 * deep, &theirs[at], &over[at], &sums[i * 16 * PANELS]);
                }
                for (int64_t i = 0; i < rows; ++i)
                    for (int64_t v = 0; v < few; ++v)
                        put(y + (from + i) * k + (p + v) * 16, _mm512_loadu_ps(&sums[(i * PANELS + v) * 16]));
            }
    }
}
}
