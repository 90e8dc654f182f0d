#include "tests/bench/lead_scenarios.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/lib/spec_reader.h"
#include "core/base/random.h"
#include "tests/support/watched_run.h"

namespace gradwatch::testing {
namespace {

constexpr int64_t kBefore = 200;      // steps before what goes wrong later than at the start
constexpr int64_t kAfterBroken = 30;  // steps after the first that is not finite
constexpr double kMaxRateScale = 1000;
constexpr double kFloatMax = std::numeric_limits<float>::max();

// A training job in parts.
struct Network {
  std::string name, layers, loss, data, optimizer;
};

std::string DenseStack(int depth, const std::string& init, const std::string& function, int outputs) {
  std::string layers;
  for (int i = 0; i < depth; ++i) {
    absl::StrAppend(&layers, "    - dense: {units: 64, weight_init: ", init,
                    "}\n    - activation: {function: ", function, "}\n");
  }
  return absl::StrCat(layers, "    - dense: {units: ", outputs, "}\n");
}

// Clusters that overlap: what is learnt perfectly has no gradient left, whatever is done to it.
constexpr char kClusters[] = "{batch_size: 64, gaussian_clusters: {classes: 10, features: 32, spread: 0.5}}";
constexpr char kSums[] = "{batch_size: 64, adding: {sequence_length: 10}}";

// Healthy networks that learn: softmax with momentum, softmax with Adam, and a squared error.
const std::vector<Network>& HealthyNetworks() {
  static const auto* const networks = [] {
    const std::string classes = DenseStack(2, "{method: he}", "relu", 10);
    const std::string sum = absl::StrCat("    - flatten: {}\n", DenseStack(2, "{method: he}", "relu", 1));
    return new std::vector<Network>{
        {"momentum", classes, "softmax_cross_entropy", kClusters, "{learning_rate: 0.05, momentum: 0.9}"},
        {"adam", classes, "softmax_cross_entropy", kClusters, "{method: adam, learning_rate: 0.002}"},
        {"sums", sum, "squared_error", kSums, "{learning_rate: 0.02}"},
    };
  }();
  return *networks;
}

v1::JobSpec Spec(const Network& network, int64_t steps, uint64_t seed) {
  const std::string yaml =
      absl::StrCat("steps: ", steps, "\nseed: ", seed, "\nmodel:\n  layers:\n", network.layers,
                   "  loss: {function: ", network.loss, "}\ndata: ", network.data, "\noptimizer: ", network.optimizer,
                   "\ncontrols: {layer_statistics: true}\n");  // some rules of others look at layers
  const auto spec = client::ParseJobSpec(yaml, client::SpecSyntax::kYaml, network.name);
  if (spec.ok()) return *spec;
  std::fprintf(stderr, "%s\n%s", spec.status().ToString().c_str(), yaml.c_str());
  std::exit(1);
}

// The first set of rules stands in the trainer, the others beside it.
LeadRun Train(v1::JobSpec spec, const std::vector<NamedRules>& rules, std::function<double(int64_t)> rate_scale = {}) {
  WatchOptions options;
  *spec.mutable_rules() = rules.front().rules;
  for (size_t i = 1; i < rules.size(); ++i) options.beside.push_back(rules[i].rules);
  options.rate_scale = std::move(rate_scale);
  options.stop_after_non_finite = kAfterBroken;
  absl::StatusOr<WatchedRun> run = WatchRun(spec, core::DataRoots(), options);
  if (!run.ok()) {
    std::fprintf(stderr, "%s\n", run.status().ToString().c_str());
    std::exit(1);
  }
  LeadRun lead{run->marks, {std::move(run->alerts)}};
  for (std::vector<v1::Alert>& alerts : run->beside) lead.alerts.push_back(std::move(alerts));
  return lead;
}

// The rate of a healthy network rises from step kBefore on, until it has risen a thousandfold.
LeadScenario Ramp(const Network& network, const std::string& kind, double pace) {
  const bool is_geometric = kind == "geometric";
  const double rises = is_geometric ? std::log(kMaxRateScale) / std::log(pace) : kMaxRateScale / pace;
  const int64_t steps = kBefore + static_cast<int64_t>(std::min(rises, 1200.0)) + 50;
  const auto scale = [=](int64_t step) {
    const auto risen = static_cast<double>(std::max<int64_t>(0, step + 1 - kBefore));
    return std::min(kMaxRateScale, is_geometric ? std::pow(pace, risen) : 1 + pace * risen);
  };
  LeadScenario scenario{absl::StrCat("rate_", kind, "/", network.name), absl::StrCat(pace), kBefore, 0, {}};
  scenario.run = [=](const std::vector<NamedRules>& rules, uint64_t seed, bool calm) {
    return Train(Spec(network, steps, seed), rules, calm ? std::function<double(int64_t)>() : scale);
  };
  return scenario;
}

// One batch of a healthy network is scaled.
LeadScenario Outlier(const Network& network, double factor) {
  LeadScenario scenario{absl::StrCat("outlier/", network.name), absl::StrCat(factor), kBefore, 0, {}};
  scenario.run = [=](const std::vector<NamedRules>& rules, uint64_t seed, bool calm) {
    v1::JobSpec spec = Spec(network, 2 * kBefore, seed);
    if (!calm) {
      spec.mutable_data()->mutable_bad_batch()->set_batch(kBefore);
      spec.mutable_data()->mutable_bad_batch()->set_scale(factor);
    }
    return Train(std::move(spec), rules);
  };
  return scenario;
}

// Wrong from the start: `bad` instead of `good`.
LeadScenario Start(const std::string& name, const std::string& value, int64_t steps, const Network& bad,
                   const Network& good) {
  LeadScenario scenario{name, value, 0, 0, {}};
  scenario.run = [=](const std::vector<NamedRules>& rules, uint64_t seed, bool calm) {
    return Train(Spec(calm ? good : bad, steps, seed), rules);
  };
  return scenario;
}

LeadScenario InitialScale(double gain) {
  const auto network = [](double scale) {
    return Network{"initial_scale", DenseStack(20, absl::StrCat("{method: he, gain: ", scale, "}"), "relu", 10),
                   "softmax_cross_entropy", kClusters, "{learning_rate: 0.05}"};
  };
  return Start("initial_scale", absl::StrCat(gain), 300, network(gain), network(1));
}

LeadScenario Radius(double radius) {
  const auto network = [](double gain) {
    return Network{"radius",
                   absl::StrCat("    - rnn:\n        units: 100\n        nonlinearity: relu\n        recurrent_init: "
                                "{method: orthogonal, gain: ",
                                gain, "}\n    - last_step: {}\n    - dense: {units: 1}\n"),
                   "squared_error", "{batch_size: 16, adding: {sequence_length: 50}}", "{learning_rate: 0.01}"};
  };
  return Start("recurrent_radius", absl::StrCat(radius), 600, network(radius), network(1));
}

LeadScenario Depth(int depth) {
  const auto network = [depth](const char* gain) {
    return Network{"depth", DenseStack(depth, absl::StrCat("{method: he, gain: ", gain, "}"), "relu", 10),
                   "softmax_cross_entropy", kClusters, "{learning_rate: 0.05}"};
  };
  return Start("depth", absl::StrCat(depth), 300, network("1.15"), network("1"));
}

// Made-up records of a network of one weight, whose norm grows by `growth` a step from kBefore on, with or without its
// loss, around which both scatter log-normally by a tenth. Ends where a float does.
class MadeUpRun {
 public:
  MadeUpRun(double growth, bool with_loss, uint64_t seed)
      : growth_(growth), with_loss_(with_loss), random_(seed, core::RandomStream::kSyntheticData, 13) {
    record_.tensors.resize(1);
    record_.learning_rate = 0.001;
  }
  const core::StepRecord& Next() {
    const auto grown = static_cast<double>(std::max<int64_t>(0, record_.step + 1 - kBefore));
    const double factor = std::exp(std::log1p(growth_) * grown);
    Fill((with_loss_ ? factor : 1) * Scatter(), factor * Scatter());
    record_.time = absl::UnixEpoch() + absl::Seconds(record_.step);
    return record_;
  }
  void Advance() { ++record_.step; }

 private:
  double Scatter() { return std::exp(0.1 * random_.NextNormal()); }
  void Fill(double loss, double norm) {
    core::TensorStatistics& tensor = record_.tensors[0];
    tensor.ClearNumbers();
    record_.loss = loss < kFloatMax ? loss : std::numeric_limits<double>::infinity();
    tensor.pos_inf_count = record_.pos_inf_count = norm < kFloatMax ? 0 : 1;
    tensor.l2_norm = record_.grad_norm = norm < kFloatMax ? norm : 0;
    tensor.max_abs = tensor.mean_abs = tensor.std_dev = tensor.l2_norm;
    tensor.weight_norm = 10;
    tensor.update_norm = norm < kFloatMax ? 0.01 * Scatter() : 0;
  }

  const double growth_;
  const bool with_loss_;
  core::Random random_;
  core::StepRecord record_;
};

LeadRun PlayMadeUp(const std::vector<NamedRules>& rules, MadeUpRun made_up, int64_t steps) {
  std::vector<std::unique_ptr<Bystander>> bystanders;
  for (const NamedRules& named : rules) {
    bystanders.push_back(std::make_unique<Bystander>(named.rules, std::vector<std::string>{"dense0.weight"}));
  }
  LeadRun run;
  for (int64_t step = 0; step < steps; ++step, made_up.Advance()) {
    const core::StepRecord& record = made_up.Next();
    run.marks.Add(record);
    for (const auto& bystander : bystanders) bystander->Watch(record);
    if (run.marks.non_finite().has_value() && step >= *run.marks.non_finite() + kAfterBroken) break;
  }
  for (const auto& bystander : bystanders) run.alerts.push_back(bystander->alerts());
  return run;
}

LeadScenario Growth(double growth, bool with_loss) {
  LeadScenario scenario{
      with_loss ? "growth/norm+loss" : "growth/norm", absl::StrCat(100 * growth, "%"), kBefore, growth, {}};
  const auto steps = static_cast<int64_t>(std::log(2 * kFloatMax) / std::log1p(growth)) + 2 * kBefore;
  scenario.run = [=](const std::vector<NamedRules>& rules, uint64_t seed, bool calm) {
    return PlayMadeUp(rules, MadeUpRun(calm ? 0 : growth, with_loss, seed), steps);
  };
  return scenario;
}

}  // namespace

std::vector<LeadScenario> LeadScenarios() {
  std::vector<LeadScenario> all;
  for (const Network& network : HealthyNetworks()) {
    for (const double pace : {1.01, 1.02, 1.05, 1.1, 1.2}) all.push_back(Ramp(network, "geometric", pace));
  }
  for (const Network& network : HealthyNetworks()) {
    for (const double pace : {0.02, 0.1, 0.5, 2.0}) all.push_back(Ramp(network, "linear", pace));
  }
  for (const double gain : {1.1, 1.2, 1.3, 1.4, 1.5}) all.push_back(InitialScale(gain));
  for (const double radius : {1.2, 1.4, 1.6, 1.8, 2.0}) all.push_back(Radius(radius));
  for (const int depth : {10, 20, 30, 40, 50}) all.push_back(Depth(depth));
  for (const bool with_loss : {false, true}) {
    for (const double growth : {0.005, 0.01, 0.02, 0.05, 0.1}) all.push_back(Growth(growth, with_loss));
  }
  for (const Network& network : HealthyNetworks()) {
    for (const double factor : {1e3, 1e6, 1e9, 1e15, 1e20, 1e30}) all.push_back(Outlier(network, factor));
  }
  return all;
}

}  // namespace gradwatch::testing
