#include "core/nn/image_columns.h"

#include "core/tensor/scalar.h"

namespace gradwatch::core {
namespace {

// Positions [begin, end) of a row of the window at which the pixel `shift` away from the window's unpadded begin lies
// in an image of `width`.
struct Span {
  int64_t begin = 0, end = 0;
};

Span InsideImage(int64_t shift, int64_t stride, int64_t width, int64_t positions) {
  Span span;
  span.end = shift < width ? std::min(positions, (width - 1 - shift) / stride + 1) : 0;
  span.begin = std::min(span.end, shift < 0 ? (-shift + stride - 1) / stride : 0);
  return span;
}

// Calls row(first pixel of the image's row, span, its place in the columns) for each of the patches' numbers and each
// row of the window in the piece. The first pixel is null, and the span empty, above and below the image. Pixels of
// positions p of the span are at [p * stride + shift].
template <typename T, typename Row>
void ForEachRow(const ImageWindow& window, const BlockPiece& piece, int64_t width, T* image, const Row& row) {
  int64_t start = piece.offset;  // of the row of the matrix
  for (int64_t channel = 0; channel < window.channels; ++channel, image += window.pixels()) {
    for (int64_t y = 0; y < window.kernel; ++y) {
      for (int64_t x = 0; x < window.kernel; ++x, start += width) {
        const int64_t shift = x - window.padding;
        const Span span = InsideImage(shift, window.stride, window.width, window.columns);
        for (int64_t r = 0; r < piece.count; ++r) {
          const int64_t pixel_row = (piece.row + r) * window.stride + y - window.padding;
          const bool inside = pixel_row >= 0 && pixel_row < window.height;
          row(inside ? image + pixel_row * window.width : nullptr, shift, inside ? span : Span(),
              start + r * window.columns);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void GatherColumns(const ImageWindow& window, const RowBlock& block, const T* images, T* columns) {
  const int64_t stride = window.stride, count = window.columns;
  ForEachPiece(window, block, [&](const BlockPiece& piece) {
    const T* const image = images + piece.image * window.channels * window.pixels();
    ForEachRow(window, piece, block.count * count, image,
               [&](const T* pixels, int64_t shift, const Span& span, int64_t place) {
                 T* const out = columns + place;
                 std::fill_n(out, span.begin, T(0));
                 // A row outside of the image has no pixels to point at.
                 if (stride == 1 && span.begin < span.end) {
                   std::copy_n(pixels + (span.begin + shift), span.end - span.begin, out + span.begin);
                 } else {
                   for (int64_t p = span.begin; p < span.end; ++p) out[p] = pixels[p * stride + shift];
                 }
                 std::fill_n(out + span.end, count - span.end, T(0));
               });
  });
}

template <typename T>
void AddColumns(const ImageWindow& window, const RowBlock& block, const T* columns, T* images) {
  const int64_t stride = window.stride;
  ForEachPiece(window, block, [&](const BlockPiece& piece) {
    T* const image = images + piece.image * window.channels * window.pixels();
    ForEachRow(window, piece, block.count * window.columns, image,
               [&](T* pixels, int64_t shift, const Span& span, int64_t place) {
                 const T* const in = columns + place;
                 for (int64_t p = span.begin; p < span.end; ++p) pixels[p * stride + shift] += in[p];
               });
  });
}

#define GW_INSTANTIATE(T)                                                                 \
  template void GatherColumns(const ImageWindow&, const RowBlock&, const T*, T* columns); \
  template void AddColumns(const ImageWindow&, const RowBlock&, const T*, T* images);
GW_FOR_EACH_SCALAR(GW_INSTANTIATE)
#undef GW_INSTANTIATE

}  // namespace gradwatch::core
