// AVX2 and FMA: 12 of 16 registers hold sums.
#define CONVPOOL_TABLE kernels_avx2
#define CONVPOOL_NAME "avx2"
#define VECTOR_BYTES 32
#define TILE_ROWS 6
#define TILE_VECTORS 2
#define GATHER_VECTORS 2
#define GATHER_SUMS 12
#define FILTER_VECTORS 3
#include "kernels.inc"
