#include "core/detect/moments.h"

#include <cmath>

namespace gradwatch::core {
namespace {

// A power of two, so that it rounds nothing: distances of doubles, and their mean squares, stay doubles.
constexpr double kScale = 0x1p-4;

}  // namespace

void Moments::Add(double value) { AddWeighted(value, 1 / static_cast<double>(count_ + 1)); }

void Moments::AddWeighted(double value, double weight) {
  const double distance = value * kScale - mean_;
  mean_ += weight * distance;
  deviation_ = std::sqrt(1 - weight) * std::hypot(deviation_, std::sqrt(weight) * distance);
  ++count_;
}

void Moments::Join(const Moments& other) {
  if (other.count_ == 0) return;
  const double share = static_cast<double>(other.count_) / static_cast<double>(count_ + other.count_);
  const double distance = other.mean_ - mean_;
  mean_ += share * distance;
  deviation_ = std::hypot(std::sqrt(1 - share) * deviation_, std::sqrt(share) * other.deviation_,
                          std::sqrt(share * (1 - share)) * distance);
  count_ += other.count_;
}

double Moments::mean() const { return mean_ / kScale; }

double Moments::deviation() const { return deviation_ / kScale; }

double Moments::sample_deviation() const {
  if (count_ < 2) return 0;
  return deviation() * std::sqrt(static_cast<double>(count_) / static_cast<double>(count_ - 1));
}

void SlidingMoments::Add(double value) {
  if (size() == static_cast<int64_t>(newer_.size())) DropOldest();
  newer_[newer_count_++] = value;
  newer_moments_.Add(value);
}

void SlidingMoments::DropOldest() {
  if (older_count_ == 0) {
    Moments moments;
    for (; newer_count_ > 0; --newer_count_) {
      moments.Add(newer_[newer_count_ - 1]);
      older_[older_count_++] = moments;
    }
    newer_moments_ = Moments();
  }
  --older_count_;
}

Moments SlidingMoments::All() const {
  if (older_count_ == 0) return newer_moments_;
  Moments all = older_[older_count_ - 1];
  all.Join(newer_moments_);
  return all;
}

}  // namespace gradwatch::core
