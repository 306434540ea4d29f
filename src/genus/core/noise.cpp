// Which ids can win a draw: argmax of logits + Gumbel noise over large vocabularies, without the noise of all of them.
//
// An id's noise is -log(-log u) <= -log(1 - u), which the leading zeros of 1 - u bound from above; most ids are out by
// that. The words are Philox4x64-10 as numpy gives them (Salmon et al. 2011). `noise.py` compiles and describes it.

#ifdef __AVX512DQ__
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int LANES = 16, CHUNK = 64;
constexpr double LN2 = 0.6931471805599453, UNIT = 1.0 / (uint64_t(1) << 52);

inline void block(uint64_t k0, uint64_t k1, uint64_t n, uint64_t draw, uint64_t* out) {
    uint64_t c0 = n, c1 = draw, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 a = (unsigned __int128)0xD2E7470EE14C6C93ull * c0;
        const unsigned __int128 b = (unsigned __int128)0xCA5A826395121157ull * c2;
        const uint64_t d0 = uint64_t(b >> 64) ^ c1 ^ k0, d2 = uint64_t(a >> 64) ^ c3 ^ k1;
        c0 = d0, c1 = uint64_t(b), c2 = d2, c3 = uint64_t(a);
        k0 += 0x9E3779B97F4A7C15ull, k1 += 0xBB67AE8584CAA73Bull;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

#ifdef __AVX512DQ__
constexpr int SETS = 2;  // of eight blocks, whose rounds are interleaved: the next one waits for nothing
constexpr int64_t TOGETHER = 8 * SETS;  // blocks

// The high halves of the products of eight numbers and one.
inline __m512i high(__m512i x, uint64_t by) {
#ifdef __AVX512IFMA__
    // Of 52 bits and the rest: x by = (hi(x0 b0) + x0 b1 + x1 b0) 2^52 + x1 b1 2^104, where the middle sum has two words.
    const __m512i b0 = _mm512_set1_epi64(by & ((uint64_t(1) << 52) - 1)), b1 = _mm512_set1_epi64(by >> 52);
    const __m512i x1 = _mm512_srli_epi64(x, 52), zero = _mm512_setzero_si512();
    __m512i low = _mm512_madd52hi_epu64(zero, x, b0), top = _mm512_madd52hi_epu64(zero, x, b1);
    low = _mm512_madd52lo_epu64(low, x, b1), top = _mm512_madd52hi_epu64(top, x1, b0);
    low = _mm512_madd52lo_epu64(low, x1, b0), top = _mm512_madd52lo_epu64(top, x1, b1);
    return _mm512_add_epi64(_mm512_srli_epi64(low, 12), _mm512_slli_epi64(top, 40));
#else
    const __m512i mask = _mm512_set1_epi64(0xffffffff), l = _mm512_set1_epi64(by & 0xffffffff), h = _mm512_set1_epi64(by >> 32);
    const __m512i top = _mm512_srli_epi64(x, 32), first = _mm512_mul_epu32(x, l);
    const __m512i one = _mm512_add_epi64(_mm512_mul_epu32(top, l), _mm512_srli_epi64(first, 32));
    const __m512i two = _mm512_add_epi64(_mm512_mul_epu32(x, h), _mm512_and_si512(one, mask));
    return _mm512_add_epi64(_mm512_mul_epu32(top, h), _mm512_add_epi64(_mm512_srli_epi64(one, 32), _mm512_srli_epi64(two, 32)));
#endif
}

// The words of the blocks from number n on.
inline void blocks(uint64_t k0, uint64_t k1, uint64_t n, uint64_t draw, uint64_t* out) {
    constexpr uint64_t A = 0xD2E7470EE14C6C93ull, B = 0xCA5A826395121157ull;
    const __m512i first = _mm512_add_epi64(_mm512_set1_epi64(n), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    __m512i c[SETS][4];
    for (int s = 0; s < SETS; s++) {
        c[s][0] = _mm512_add_epi64(first, _mm512_set1_epi64(8 * s)), c[s][1] = _mm512_set1_epi64(draw);
        c[s][2] = c[s][3] = _mm512_setzero_si512();
    }
    for (int round = 0; round < 10; round++) {
        const __m512i one = _mm512_set1_epi64(k0), two = _mm512_set1_epi64(k1);
        for (int s = 0; s < SETS; s++) {
            __m512i* x = c[s];
            const __m512i a = high(x[0], A), b = high(x[2], B);
            const __m512i low_a = _mm512_mullo_epi64(x[0], _mm512_set1_epi64(A)), low_b = _mm512_mullo_epi64(x[2], _mm512_set1_epi64(B));
            x[0] = _mm512_ternarylogic_epi64(b, x[1], one, 0x96), x[1] = low_b;  // the sum without carries
            x[2] = _mm512_ternarylogic_epi64(a, x[3], two, 0x96), x[3] = low_a;
        }
        k0 += 0x9E3779B97F4A7C15ull, k1 += 0xBB67AE8584CAA73Bull;
    }
    for (int s = 0; s < SETS; s++, out += 32) {  // four words of each block, one behind another
        const __m512i a = _mm512_unpacklo_epi64(c[s][0], c[s][1]), b = _mm512_unpackhi_epi64(c[s][0], c[s][1]);
        const __m512i d = _mm512_unpacklo_epi64(c[s][2], c[s][3]), e = _mm512_unpackhi_epi64(c[s][2], c[s][3]);
        const __m512i p = _mm512_shuffle_i64x2(a, d, 0x44), q = _mm512_shuffle_i64x2(b, e, 0x44);
        const __m512i r = _mm512_shuffle_i64x2(a, d, 0xee), t = _mm512_shuffle_i64x2(b, e, 0xee);
        _mm512_storeu_si512(out, _mm512_shuffle_i64x2(p, q, 0x88)), _mm512_storeu_si512(out + 8, _mm512_shuffle_i64x2(p, q, 0xdd));
        _mm512_storeu_si512(out + 16, _mm512_shuffle_i64x2(r, t, 0x88)), _mm512_storeu_si512(out + 24, _mm512_shuffle_i64x2(r, t, 0xdd));
    }
}
#else
constexpr int64_t TOGETHER = 1;

inline void blocks(uint64_t k0, uint64_t k1, uint64_t n, uint64_t draw, uint64_t* out) { block(k0, k1, n, draw, out); }
#endif

inline double gumbel(uint64_t word) { return -std::log(-std::log((double(word >> 12) + 0.5) * UNIT)); }

// At least its noise: the exponent of 1 - u as a number of 52 bits, which holds it exactly.
inline double most(uint64_t word) {
    const double rest = double(int64_t((~word >> 12) | 1));
    int64_t bits;
    std::memcpy(&bits, &rest, sizeof bits);
    return LN2 * double(1023 + 53 - (bits >> 52));
}

// The first of the greatest of V numbers, sixteen at a time. What is no number is never the greatest.
int64_t greatest(const float* x, int64_t V) {
    float high[LANES];
    std::fill_n(high, LANES, -std::numeric_limits<float>::infinity());
    int64_t i = 0;
#ifdef __AVX512DQ__
    __m512 most = _mm512_loadu_ps(high);
    for (; i + LANES <= V; i += LANES) most = _mm512_max_ps(_mm512_loadu_ps(x + i), most);
    _mm512_storeu_ps(high, most);
#else
    for (; i + LANES <= V; i += LANES)
        for (int l = 0; l < LANES; l++) high[l] = x[i + l] > high[l] ? x[i + l] : high[l];
#endif
    float best = *std::max_element(high, high + LANES);
    for (; i < V; i++) best = std::max(best, x[i]);
    return std::min<int64_t>(std::find(x, x + V, best) - x, V - 1);
}

}  // namespace

extern "C" {

// Row r of logits [rows, V] belongs to samples[r / inner] and reads words from (r % inner) V on. Its ids whose sum comes
// within `slack` of the greatest go to ids[r room ..] in order, with their words; counts[r] is how many, -1 if more than
// `room`.
void genus_contenders(uint64_t key, const uint64_t* samples, int64_t rows, int64_t inner, uint64_t draw,
                      const float* logits, int64_t V, double slack, int64_t room, int64_t* ids, uint64_t* words,
                      int64_t* counts) {
    std::vector<uint64_t> drawn(V + CHUNK + 8);
    std::vector<double> sums(room);
    for (int64_t r = 0; r < rows; r++, logits += V, ids += room, words += room) {
        const int64_t from = (r % inner) * V, skip = from % 4;
        for (int64_t at = 0; at < skip + V; at += CHUNK) {
            int wanted = 0;  // after a filter most ids are out, whatever their noise
            const int64_t end = std::min(V, at - skip + CHUNK);
            for (int64_t i = std::max<int64_t>(0, at - skip); i < end; i++)
                wanted |= logits[i] > -std::numeric_limits<float>::infinity();
            for (int64_t n = at / 4; n < (at + CHUNK) / 4 && wanted; n += TOGETHER)  // numpy counts before it draws
                blocks(key, samples[r / inner], uint64_t(from / 4 + n + 1), draw, drawn.data() + 4 * n);
        }
        const uint64_t* w = drawn.data() + skip;
        const int64_t likeliest = greatest(logits, V);
        double best = logits[likeliest] + gumbel(w[likeliest]);
        int64_t n = 0;
        for (int64_t start = 0; start < V && n >= 0; start += CHUNK) {
            const int64_t end = std::min(V, start + CHUNK);
            int near = 0;
            for (int64_t i = start; i < end; i++) near |= logits[i] + most(w[i]) >= best - slack;
            for (int64_t i = start; i < end && near && n >= 0; i++) {
                if (!(logits[i] + most(w[i]) >= best - slack)) continue;
                const double sum = logits[i] + gumbel(w[i]);
                if (!(sum >= best - slack)) continue;
                if (sum > best) {
                    best = sum;
                    int64_t kept = 0;
                    for (int64_t j = 0; j < n; j++)
                        if (sums[j] >= best - slack) sums[kept] = sums[j], ids[kept] = ids[j], words[kept++] = words[j];
                    n = kept;
                }
                if (n == room)
                    n = -1;
                else
                    sums[n] = sum, ids[n] = i, words[n++] = w[i];
            }
        }
        counts[r] = n;
    }
}
}
