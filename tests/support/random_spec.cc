#include "tests/support/random_spec.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gradwatch::testing {
namespace {

constexpr int kColumns = 12, kImages = 1500, kSide = 14;

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// The start of an IDX file of bytes.
std::string IdxStart(const std::vector<int>& dimensions) {
  std::string start = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (const int size : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) start.push_back(static_cast<char>(size >> shift));
  }
  return start;
}

void WriteFiles(const std::string& folder, std::mt19937_64& engine) {
  std::string table, text = "\xf0\x9f\x98\x80";  // a character far up
  for (int row = 0; row < 20'000; ++row) {
    for (int column = 0; column + 1 < kColumns; ++column) absl::StrAppend(&table, engine() % 1000, ".", row % 10, ",");
    absl::StrAppend(&table, engine() % 3, "\n");
  }
  for (int i = 0; i < 300'000; ++i) text.push_back(static_cast<char>('A' + engine() % 50));
  std::string images = IdxStart({kImages, kSide, kSide}), labels = IdxStart({kImages});
  for (int i = 0; i < kImages * kSide * kSide; ++i) images.push_back(static_cast<char>(engine()));
  for (int i = 0; i < kImages; ++i) labels.push_back(static_cast<char>(engine() % 10));
  WriteFile(folder + "/table.csv", table);
  WriteFile(folder + "/text.txt", text);
  WriteFile(folder + "/images.idx", images);
  WriteFile(folder + "/labels.idx", labels);
}

}  // namespace

RandomSpecs::RandomSpecs(uint64_t seed, const std::string& folder) : engine_(seed) { WriteFiles(folder, engine_); }

int RandomSpecs::Units() {
  if (is_large_) return Between(largest_ / 2, largest_);
  int end = 2;
  while (end < largest_ && !OneIn(6)) end *= 2;
  return Between(1, std::min(end, largest_));
}

v1::JobSpec RandomSpecs::Draw() {
  constexpr std::array<int, 6> kLargest = {16, 64, 300, 800, 2000, 3000};
  largest_ = kLargest[static_cast<size_t>(Below(static_cast<int>(kLargest.size())))];
  is_large_ = OneIn(5);
  if (is_large_) largest_ = Between(500, 2800);
  v1::JobSpec spec;
  spec.mutable_data()->set_batch_size(Between(2, 48));
  DrawModel(DrawData(&spec), spec.mutable_model());
  DrawOptimizer(spec.mutable_optimizer());
  DrawControls(&spec);
  DrawRules(spec.mutable_rules());
  spec.set_steps(1000);
  spec.set_seed(engine_());
  spec.set_threads(Between(1, 4));
  if (OneIn(3)) spec.set_accumulation(Between(1, 4));
  if (OneIn(3)) {
    spec.mutable_validation()->set_examples(Between(1, 5) * spec.data().batch_size());
    spec.mutable_validation()->set_every_steps(Between(1, 3));
  }
  return spec;
}

RandomSpecs::Reading RandomSpecs::DrawData(v1::JobSpec* spec) {
  using Kind = Reading::Kind;
  v1::DataSpec& data = *spec->mutable_data();
  if (OneIn(8)) data.mutable_bad_batch()->set_scale(2);
  switch (Below(8)) {
    case 0:
      data.mutable_adding()->set_sequence_length(Between(2, 60));
      return {.kind = Kind::kSequence, .classes = false, .outputs = 1, .features = 2};
    case 1:
      data.mutable_temporal_order()->set_sequence_length(Between(10, 60));
      return {.kind = Kind::kSequence, .outputs = 4, .features = 6};
    case 2:
      data.mutable_spirals()->set_arms(Between(2, 5));
      return {.kind = Kind::kVector, .outputs = data.spirals().arms(), .features = 2};
    case 3: {
      v1::GaussianClustersTask& clusters = *data.mutable_gaussian_clusters();
      clusters.set_classes(Between(2, 200));
      clusters.set_features(Units());
      if (OneIn(2)) clusters.set_examples(Between(1, 20'000));
      return {.kind = Kind::kVector, .outputs = clusters.classes(), .features = clusters.features()};
    }
    case 4: {
      v1::CsvData& csv = *data.mutable_csv();
      csv.set_path("table.csv");
      for (int i = 0; i + 1 < kColumns; ++i) csv.add_inputs(absl::StrCat(i));
      csv.add_targets(absl::StrCat(kColumns - 1));
      csv.set_standardize(OneIn(2));
      const bool classes = OneIn(2), window = OneIn(2);
      if (classes) csv.set_classes(3);
      if (window) csv.set_window(Between(2, 20));
      return {.kind = window ? Kind::kSequence : Kind::kVector,
              .classes = classes,
              .outputs = classes ? 3 : 1,
              .features = kColumns - 1};
    }
    case 5:
      data.clear_bad_batch();
      data.mutable_text()->set_path("text.txt");
      data.mutable_text()->set_sequence_length(Between(2, 40));
      return {.kind = Kind::kTokens, .target_per_step = true, .outputs = 51, .features = 51};
    default:
      data.mutable_idx()->set_images("images.idx");
      data.mutable_idx()->set_labels("labels.idx");
      return {.kind = Kind::kImage, .outputs = 10, .features = kSide * kSide};
  }
}

void RandomSpecs::DrawInitializer(v1::Initializer* initializer) {
  constexpr std::array<v1::InitializerMethod, 6> kMethods = {
      v1::INITIALIZER_METHOD_XAVIER,     v1::INITIALIZER_METHOD_HE,     v1::INITIALIZER_METHOD_ORTHOGONAL,
      v1::INITIALIZER_METHOD_ORTHOGONAL, v1::INITIALIZER_METHOD_SPARSE, v1::INITIALIZER_METHOD_PYTORCH};
  initializer->set_method(kMethods[static_cast<size_t>(Below(static_cast<int>(kMethods.size())))]);
  if (initializer->method() == v1::INITIALIZER_METHOD_SPARSE) initializer->set_nonzeros(1);
}

void RandomSpecs::DrawModel(Reading reading, v1::ModelSpec* model) {
  using Kind = Reading::Kind;
  if (reading.kind == Kind::kTokens) {
    reading.features = OneIn(3) ? 12 * Between(1, 4) : Units();
    v1::Embedding& embedding = *model->add_layers()->mutable_embedding();
    embedding.set_units(reading.features);
    embedding.set_positions(OneIn(2));
    reading.kind = Kind::kSequence;
  }
  if (reading.kind == Kind::kImage) {
    if (!OneIn(4)) AddImageLayers(model);
    if (OneIn(2)) model->add_layers()->mutable_flatten();
    model->add_layers()->mutable_dense()->set_units(reading.features = Units());
    reading.kind = Kind::kVector;
  }
  if (reading.kind == Kind::kSequence) {
    const int layers = Between(1, 4);
    for (int i = 0; i < layers; ++i) AddSequenceLayer(&reading, model);
    if (!reading.target_per_step) model->add_layers()->mutable_last_step();
  }
  const bool rows = reading.kind == Kind::kSequence && reading.target_per_step;
  const int layers = OneIn(12) ? 120 : Between(0, 5);
  for (int i = 0; i < layers && !rows; ++i) AddVectorLayer(&reading, model);
  model->add_layers()->mutable_dense()->set_units(reading.outputs);
  model->mutable_loss()->set_function(reading.classes ? v1::LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY
                                      : OneIn(2)      ? v1::LOSS_FUNCTION_HUBER
                                                      : v1::LOSS_FUNCTION_SQUARED_ERROR);
}

void RandomSpecs::AddSequenceLayer(Reading* reading, v1::ModelSpec* model) {
  v1::Layer& layer = *model->add_layers();
  switch (Below(9)) {
    case 0:
      layer.mutable_rnn()->set_units(reading->features = Units());
      if (OneIn(3)) layer.mutable_rnn()->mutable_recurrent_init()->set_spectral_radius(0.9);
      if (OneIn(3)) layer.mutable_rnn()->set_vanishing_penalty(0.5);
      return;
    case 1:
    case 2:
      return layer.mutable_lstm()->set_units(reading->features = Units());
    case 3:
      return layer.mutable_gru()->set_units(reading->features = Units());
    case 4:
    case 5: {
      constexpr std::array<int, 3> kHeads = {1, 3, 4};
      layer.mutable_self_attention()->set_heads(reading->features % 12 == 0 ? kHeads[static_cast<size_t>(Below(3))]
                                                                            : 1);
      return;
    }
    case 6:
      return layer.mutable_dense()->set_units(reading->features = Units());
    case 7:
      layer.mutable_residual()->add_layers()->mutable_layer_norm();
      return layer.mutable_residual()->add_layers()->mutable_dense()->set_units(reading->features);
    default:
      layer.mutable_dropout()->set_probability(0.1);
  }
}

void RandomSpecs::AddVectorLayer(Reading* reading, v1::ModelSpec* model) {
  v1::Layer& layer = *model->add_layers();
  switch (Below(9)) {
    case 0:
    case 1:
      layer.mutable_dense()->set_units(reading->features = Units());
      if (OneIn(2)) DrawInitializer(layer.mutable_dense()->mutable_weight_init());
      return;
    case 2:
      layer.mutable_activation()->set_function(
          static_cast<v1::ActivationFunction>(Between(v1::ActivationFunction_MIN + 1, v1::ActivationFunction_MAX)));
      return;
    case 3:
      layer.mutable_batch_norm();
      return;
    case 4:
      layer.mutable_layer_norm();
      return;
    case 5:
      layer.mutable_rms_norm();
      return;
    case 6:
      layer.mutable_dropout()->set_probability(0.3);
      return;
    case 7:
      layer.mutable_scale()->set_bias(OneIn(2));
      return;
    default:
      layer.mutable_residual()->add_layers()->mutable_activation()->set_function(v1::ACTIVATION_FUNCTION_TANH);
      layer.mutable_residual()->add_layers()->mutable_dense()->set_units(reading->features);
  }
}

void RandomSpecs::AddImageLayers(v1::ModelSpec* model) {
  const int layers = Between(1, 3);
  for (int i = 0; i < layers; ++i) {
    v1::Conv2d& conv = *model->add_layers()->mutable_conv2d();
    conv.set_channels(Between(1, std::min(largest_, 48)));
    conv.set_kernel(3);
    conv.set_padding(1);
    conv.set_stride(Between(1, 2));
    if (OneIn(3)) model->add_layers()->mutable_batch_norm();
    model->add_layers()->mutable_activation()->set_function(v1::ACTIVATION_FUNCTION_RELU);
  }
  v1::Pool2d& pool = *model->add_layers()->mutable_pool2d();
  pool.set_mode(OneIn(2) ? v1::Pool2d::MODE_MAX : v1::Pool2d::MODE_AVERAGE);
  pool.set_kernel(2);
}

void RandomSpecs::DrawOptimizer(v1::OptimizerSpec* optimizer) {
  optimizer->set_method(
      static_cast<v1::OptimizerMethod>(Between(v1::OptimizerMethod_MIN + 1, v1::OptimizerMethod_MAX)));
  optimizer->set_learning_rate(1e-4);
  switch (optimizer->method()) {
    case v1::OPTIMIZER_METHOD_SGD:
      if (OneIn(2)) optimizer->set_momentum(0.9);
      return;
    case v1::OPTIMIZER_METHOD_RMSPROP:
      if (OneIn(2)) optimizer->set_momentum(0.9);
      return optimizer->set_centered(OneIn(2));
    case v1::OPTIMIZER_METHOD_ADAM:
    case v1::OPTIMIZER_METHOD_ADAMW:
      return optimizer->set_amsgrad(OneIn(2));
    default:
      return;
  }
}

void RandomSpecs::DrawControls(v1::JobSpec* spec) {
  v1::Controls& controls = *spec->mutable_controls();
  controls.set_gradient_cosine(OneIn(3));
  controls.set_layer_statistics(OneIn(3));
  controls.set_statistics(static_cast<v1::StatisticsLevel>(Between(v1::StatisticsLevel_MIN, v1::StatisticsLevel_MAX)));
  v1::ClipSettings& clip = *controls.mutable_clip();
  clip.set_mode(static_cast<v1::ClipMode>(Between(v1::ClipMode_MIN + 1, v1::ClipMode_MAX)));
  if (clip.mode() == v1::CLIP_MODE_GLOBAL_NORM || clip.mode() == v1::CLIP_MODE_TENSOR_NORM ||
      clip.mode() == v1::CLIP_MODE_VALUE) {
    clip.set_threshold(1);
  }
  if (clip.mode() == v1::CLIP_MODE_AUTOCLIP && OneIn(2)) clip.mutable_autoclip()->set_history(100'000);
  if (clip.mode() == v1::CLIP_MODE_ZCLIP && OneIn(2)) clip.mutable_zclip()->set_warmup_steps(10'000);
  if (clip.mode() == v1::CLIP_MODE_SPAM) spec->mutable_optimizer()->set_method(v1::OPTIMIZER_METHOD_ADAM);
  if (clip.mode() == v1::CLIP_MODE_SPAM) {
    spec->mutable_optimizer()->clear_momentum();
    spec->mutable_optimizer()->clear_centered();
  }
  clip.set_max_consecutive_skips(1000);
}

void RandomSpecs::DrawRules(v1::RuleSet* rules) {
  constexpr std::array<int, 5> kWindows = {10, 101, 1000, 5000, 10'000};
  const auto window = [&] { return kWindows[static_cast<size_t>(Below(static_cast<int>(kWindows.size())))]; };
  const int count = OneIn(3) ? 0 : OneIn(6) ? 64 : Between(1, 8);
  if (count == 64 || OneIn(2)) rules->set_preset("none");  // 64 are those of the preset and all others
  for (int i = 0; i < count; ++i) {
    v1::Rule& rule = *rules->add_rules();
    rule.set_name(absl::StrCat("rule-", i));
    const bool fires = i % 3 == 0;  // from the first step on, if its condition can; the others say nothing
    rule.set_for_steps(fires ? 1 : 1000);
    switch (Below(21)) {
      case 0:
        rule.mutable_non_finite();
        break;
      case 1:
        rule.mutable_norm_limit()->set_max_norm(fires ? 1e-30 : 1e30);
        break;
      case 2:
        rule.mutable_norm_spike()->set_window(window());
        rule.mutable_norm_spike()->set_per_tensor(OneIn(2));
        if (rule.norm_spike().per_tensor() && OneIn(2)) rule.set_tensors("*weight*");
        break;
      case 3:
        rule.mutable_loss_jump()->set_window(window());
        break;
      case 4:
        rule.mutable_drift()->set_baseline_steps(window());
        break;
      case 5:
        rule.mutable_vanishing();
        break;
      case 6:
        rule.mutable_growth();
        break;
      case 7:
        rule.mutable_loss_divergence();
        break;
      case 8:
        rule.mutable_loss_collapse();
        break;
      case 9:
        rule.mutable_norm_growth();
        break;
      case 10:
        rule.mutable_joint_growth();
        break;
      case 11:
        rule.mutable_first_step();
        break;
      case 12:
        rule.mutable_overshoot();
        break;
      case 13:
        rule.mutable_update_growth();
        break;
      case 14:
        rule.mutable_no_progress()->set_window(window() + 20);
        break;
      case 15:
        rule.mutable_saturation();
        break;
      case 16:
        rule.mutable_frozen();
        break;
      case 17:
        rule.mutable_clipping()->set_window(window());
        break;
      case 18:
        rule.mutable_series()->set_baseline(v1::SeriesCondition::BASELINE_MEAN);
        rule.mutable_series()->set_window(window());
        rule.mutable_series()->set_factor(2);
        break;
      case 19:
        rule.mutable_attention();
        break;
      default:
        rule.mutable_update_ratio()->set_max_ratio(fires ? 1e-12 : 1e6);
    }
  }
}

}  // namespace gradwatch::testing
