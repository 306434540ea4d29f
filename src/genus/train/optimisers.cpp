// AdamW on numbers that lie in two halves: read, moved and put back in one pass. C interface alone; `optimisers.py`
// compiles, loads and describes it.
#include "near.hpp"

namespace {

// Sixteen numbers, or `count` and zeros.
inline __m512 some(const bf16* x, int64_t count) {
    const __mmask16 there = count >= 16 ? 0xffff : (1 << count) - 1;
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline __m512i wide(const bf16* x) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}

// 65536 live + rest in the bits of an integer.
inline __m512 whole(const bf16* live, const bf16* rest) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(wide(live), 16), wide(rest)));
}

inline void part(__m512 x, bf16* live, bf16* rest) {
    const __m512i bits = _mm512_castps_si512(x), up = _mm512_add_epi32(bits, _mm512_set1_epi32(1 << 15));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rest), _mm512_cvtepi32_epi16(bits));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(live), _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
}

}  // namespace

extern "C" {

// n numbers, with room behind them up to a multiple of 16, and what is remembered of them. g: their gradient in bfloat16, null: nothing but zeros; it
// is multiplied by `share` first. keep: what stays of a number; step: the rate over mean's correction; root: that of square.
void genus_adamw(bf16* live, bf16* rest, const bf16* g, float* mean, float* square, int64_t n, float share, float keep,
                 float step, float beta1, float beta2, float root, float epsilon, int threads) {
    const __m512 less1 = _mm512_set1_ps(1 - beta1), more2 = _mm512_set1_ps(beta2), less2 = _mm512_set1_ps(1 - beta2);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 d = g == nullptr ? _mm512_setzero_ps() : _mm512_mul_ps(some(g + i, n - i), _mm512_set1_ps(share));
        const __m512 m = _mm512_loadu_ps(mean + i), to = _mm512_fmadd_ps(less1, _mm512_sub_ps(d, m), m);
        const __m512 v = _mm512_fmadd_ps(_mm512_mul_ps(less2, d), d, _mm512_mul_ps(_mm512_loadu_ps(square + i), more2));
        _mm512_storeu_ps(mean + i, to);
        _mm512_storeu_ps(square + i, v);
        const __m512 under = _mm512_add_ps(_mm512_div_ps(_mm512_sqrt_ps(v), _mm512_set1_ps(root)), _mm512_set1_ps(epsilon));
        const __m512 x = _mm512_mul_ps(whole(live + i, rest + i), _mm512_set1_ps(keep));
        part(_mm512_fnmadd_ps(_mm512_set1_ps(step), _mm512_div_ps(to, under), x), live + i, rest + i);
    }
}

// The sum of the squares of n numbers, in parts of a fixed size, so that it is the same whoever adds them up.
double genus_squares(const bf16* g, int64_t n, int threads) {
    constexpr int64_t PART = 1 << 16;
    const int64_t parts = (n + PART - 1) / PART;
    static thread_local Room kept;
    double* found = kept.of<double>(parts);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t p = 0; p < parts; ++p) {
        const int64_t end = n < (p + 1) * PART ? n : (p + 1) * PART;
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = p * PART; i < end; i += 16) {
            const __m512 x = some(g + i, end - i);
            sum = _mm512_fmadd_ps(x, x, sum);
        }
        found[p] = _mm512_reduce_add_ps(sum);
    }
    double all = 0;
    for (int64_t p = 0; p < parts; ++p) all += found[p];
    return all;
}
}
