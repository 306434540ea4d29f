// Numbers of 16 bits as bytes with scales, and sums of products of bytes as numbers again: what stands around an integer
// product of matrices while a network learns. AVX-512. C interface alone; `bytewise.py` compiles, loads and describes it.
#include <immintrin.h>

#include <cstdint>

namespace {

inline __m512 number(const uint16_t* x) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline void put(int8_t* q, __m512 v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

const float TINY = 1e-30f, MOST = 127.f;

}  // namespace

extern "C" {

// x [m, k] bfloat16 -> q [m, k], a scale a row: s [m].
void genus_rows(const uint16_t* x, int64_t m, int64_t k, int8_t* q, float* s, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < m; ++i) {
        __m512 most = _mm512_set1_ps(TINY);
        for (int64_t j = 0; j < k; j += 16) most = _mm512_max_ps(most, _mm512_abs_ps(number(x + i * k + j)));
        float a = _mm512_reduce_max_ps(most);
        s[i] = a / MOST;
        __m512 by = _mm512_set1_ps(MOST / a);
        for (int64_t j = 0; j < k; j += 16) put(q + i * k + j, _mm512_mul_ps(number(x + i * k + j), by));
    }
}

// x [m, k] bfloat16 -> q [m, k], a scale a column: s [k].
void genus_columns(const uint16_t* x, int64_t m, int64_t k, int8_t* q, float* s, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t j = 0; j < k; j += 16) {
        __m512 most = _mm512_set1_ps(TINY);
        for (int64_t i = 0; i < m; ++i) most = _mm512_max_ps(most, _mm512_abs_ps(number(x + i * k + j)));
        _mm512_storeu_ps(s + j, _mm512_mul_ps(most, _mm512_set1_ps(1 / MOST)));
        __m512 by = _mm512_div_ps(_mm512_set1_ps(MOST), most);
        for (int64_t i = 0; i < m; ++i) put(q + i * k + j, _mm512_mul_ps(number(x + i * k + j), by));
    }
}

// y [m, n] bfloat16 = a [m, n] times the scale of its row and of its column.
void genus_numbers(const int32_t* a, int64_t m, int64_t n, const float* rows, const float* columns, uint16_t* y,
                   int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < m; ++i) {
        __m512 s = _mm512_set1_ps(rows[i]);
        for (int64_t j = 0; j < n; j += 16) {
            __m512 v = _mm512_cvtepi32_ps(_mm512_loadu_si512(a + i * n + j));
            v = _mm512_mul_ps(_mm512_mul_ps(v, _mm512_loadu_ps(columns + j)), s);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i * n + j), (__m256i)_mm512_cvtneps_pbh(v));
        }
    }
}

// y [m, n] float32 += a [m, n] times the scale of its row and of its column.
void genus_added(const int32_t* a, int64_t m, int64_t n, const float* rows, const float* columns, float* y,
                 int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < m; ++i) {
        __m512 s = _mm512_set1_ps(rows[i]);
        for (int64_t j = 0; j < n; j += 16) {
            __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(a + i * n + j)), _mm512_loadu_ps(columns + j));
            _mm512_storeu_ps(y + i * n + j, _mm512_fmadd_ps(v, s, _mm512_loadu_ps(y + i * n + j)));
        }
    }
}
}
