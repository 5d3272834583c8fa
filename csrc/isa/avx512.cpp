// AVX-512: 24 of 32 registers hold sums. With 16, layers took up to 1.25 times as long, waiting for the
// second-level cache. 8 rows of channels, since most layers' are multiples of 8.
#define CONVPOOL_TABLE kernels_avx512
#define CONVPOOL_NAME "avx512"
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define GATHER_VECTORS 4
#define GATHER_SUMS 24
#define FILTER_VECTORS 4
#include "kernels.inc"
