// The conditions about signals that die out or grow on their way through the network: vanishing, growth, saturation,
// attention, frozen.
#ifndef GRADWATCH_CORE_DETECT_LAYER_RULES_H_
#define GRADWATCH_CORE_DETECT_LAYER_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/detect/condition.h"

namespace gradwatch::core {

// The condition vanishing: the mean magnitude of the gradient of a matching tensor is below min_mean_abs. Names the
// lowest. Needs level FULL; tensors with elements that are not finite are left out, and so are steps whose loss is not
// finite.
class Vanishing final : public Condition {
 public:
  Vanishing(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  static constexpr int64_t kNever = -1;

  // What is remembered of a tensor.
  struct Past {
    int64_t below_since = kNever;  // the first of the steps in a row on which it has been below the limit
    double largest = 0;            // mean magnitude
    int64_t largest_step = kNever;
  };

  const Past& PastOf(int tensor) const;
  void ExplainWhere(const StepRecord& record, const RunSignals& signals, v1::Alert* alert) const;

  const double min_mean_abs_;
  const std::vector<int> tensors_;
  std::vector<Past> past_;  // of each of tensors_
};

// The condition growth: the gradient of the output of some layer is more than max_growth times that of the output of
// the network, so of the last layer. Norms at places in the network are compared, not the growths of layers multiplied:
// a block and the layers in it would count twice. Judges the steps on which layers are measured. A gradient that is not
// finite somewhere, behind an output where it is, has grown beyond any limit.
class Growth final : public Condition {
 public:
  Growth(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& /*rule*/, const std::vector<std::string>& /*tensor_names*/) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  const double max_growth_;
  int worst_layer_ = -1;  // of the last verdict that holds
};

// The condition saturation: of a layer, more than max_saturated of the outputs (of the gates, where it has gates) are
// saturated, or more than max_dead of the units are dead. The worst layer is the one furthest above its limit, as a
// multiple of it. Judges the steps on which layers are measured; unknown where no layer can saturate or die.
class Saturation final : public Condition {
 public:
  Saturation(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& /*rule*/, const std::vector<std::string>& /*tensor_names*/) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  const double max_saturated_;
  const double max_dead_;
  // Of the last verdict that holds:
  int worst_layer_ = -1;
  bool worst_is_dead_ = false;  // rather than saturated
};

// The condition attention: the largest logit of an attention is above max_logit, or is NaN, or the entropy of its
// weights is below min_entropy. Names the layer with the largest logit above its limit, NaN being the largest; only
// where there is none, for logits that grow are what makes entropies fall, the one with the lowest entropy. Judges the
// steps on which layers are measured; unknown where none has attention.
class Attention final : public Condition {
 public:
  Attention(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& /*rule*/, const std::vector<std::string>& /*tensor_names*/) { return 0; }

  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  bool HasLargeLogit(const LayerStatistics& layer) const;
  bool HasLowEntropy(const LayerStatistics& layer) const;
  // In words, of the worst layer: what it was not named for.
  std::string OtherFigure(const LayerStatistics& worst) const;

  const double max_logit_;
  const double min_entropy_;
  // Of the last verdict that holds:
  int worst_layer_ = -1;
  bool worst_is_entropy_ = false;  // rather than its logit
};

// The condition frozen: the gradient of a matching tensor is zero in all elements, or its update is zero although its
// gradient is not and the learning rate is above 0. The value is the number of such tensors, the limit max_share of the
// matching ones; names the one that has been frozen for longest. Gradients are judged at every level; below FULL, or
// without an update, nothing is known about a tensor whose update was zero when it was last measured. A step of loss 0
// and gradient 0 is quiet: there is nothing left to learn.
class Frozen final : public Condition {
 public:
  Frozen(const v1::Rule& rule, const std::vector<std::string>& tensor_names);
  static int64_t HistoryBytes(const v1::Rule& rule, const std::vector<std::string>& tensor_names);

  bool judges_update() const override { return true; }
  Verdict Judge(const StepRecord& record, const RunSignals& signals) override;
  void Describe(const StepRecord& record, const Verdict& verdict, const RunSignals& signals,
                v1::Alert* alert) const override;

 private:
  enum class Motion {
    kUnknown,  // not measured, or not finite
    kMoves,
    kZeroGradient,
    kZeroUpdate,
  };
  static constexpr int64_t kNever = -1;

  // What is remembered of a tensor.
  struct Past {
    Motion motion = Motion::kUnknown;
    int64_t frozen_since = kNever;  // the first of the steps in a row on which it has not moved
    int64_t last_moved = kNever;
  };

  static Motion MotionOf(const StepRecord& record, const TensorStatistics& tensor, const Past& past);
  static void Remember(int64_t step, Motion motion, Past* past);
  const Past& PastOf(int tensor) const;
  static void ExplainZeroUpdate(const StepRecord& record, int tensor, const RunSignals& signals, v1::Alert* alert);
  void ExplainHowMany(const StepRecord& record, const Verdict& verdict, v1::Alert* alert) const;

  const double max_share_;
  const std::vector<int> tensors_;
  std::vector<Past> past_;  // of each of tensors_
};

}  // namespace gradwatch::core

#endif  // GRADWATCH_CORE_DETECT_LAYER_RULES_H_
