#include "core/data/held_source.h"

#include <algorithm>
#include <utility>

#include "core/data/batch_buffer.h"
#include "core/data/example_order.h"

namespace gradwatch::core {
namespace {

class HeldSource final : public DataSource {
 public:
  HeldSource(std::unique_ptr<DataSource> set, std::unique_ptr<DataSource> endless, int64_t examples,
             int64_t batch_size, uint64_t seed)
      : set_(std::move(set)),
        endless_(std::move(endless)),
        examples_(examples),
        is_one_batch_(examples == batch_size),
        buffer_(set_->shape(), batch_size),
        order_(examples, seed) {}

  const DataShape& shape() const override { return set_->shape(); }
  int64_t examples() const override { return examples_; }
  int64_t bytes() const override { return set_->bytes() + endless_->bytes() + (is_one_batch_ ? 0 : buffer_.bytes()); }
  Batch FillHeldOut(int64_t index) override { return endless_->FillHeldOut(index); }

  Batch Fill(int64_t step) override {
    if (!made_) {
      all_ = set_->Fill(0);
      if (!is_one_batch_) buffer_.Prepare();
      made_ = true;
    }
    if (is_one_batch_) return all_;
    for (int64_t slot = 0; slot < buffer_.batch_size(); ++slot) {
      CopyExample(order_.At(step * buffer_.batch_size() + slot), slot);
    }
    return buffer_.View();
  }

 private:
  void CopyExample(int64_t example, int64_t slot) {
    const DataShape& shape = set_->shape();
    for (int64_t step = 0; step < shape.input.rows(); ++step) {
      const float* const row = all_.features.data() + (step * examples_ + example) * shape.input.features;
      std::copy_n(row, shape.input.features, buffer_.FeatureRow(step, slot));
    }
    if (shape.target == DataShape::Target::kClasses) {
      buffer_.Class(0, slot) = all_.classes[example];
    } else {
      std::copy_n(all_.values.data() + example * shape.outputs, shape.outputs, buffer_.ValueRow(slot));
    }
  }

  const std::unique_ptr<DataSource> set_, endless_;
  const int64_t examples_;
  const bool is_one_batch_;
  BatchBuffer buffer_;
  ExampleOrder order_;
  Batch all_;
  bool made_ = false;
};

}  // namespace

std::unique_ptr<DataSource> HoldExamples(std::unique_ptr<DataSource> set, std::unique_ptr<DataSource> endless,
                                         int64_t examples, int64_t batch_size, uint64_t seed) {
  return std::make_unique<HeldSource>(std::move(set), std::move(endless), examples, batch_size, seed);
}

}  // namespace gradwatch::core
