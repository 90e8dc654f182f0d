#include "client/cli/statistics_reader.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

namespace gradwatch::cli {
namespace {

using Response = v1::QueryStatisticsResponse;

constexpr int kAttempts = 5;
constexpr int kMostHistograms = 10'000;

bool HasSamePoints(const Response& a, const Response& b) {
  const auto same = [](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end()); };
  return same(a.first_steps(), b.first_steps()) && same(a.last_steps(), b.last_steps());
}

// A page tells the damage that it came across, which the first may not have.
void AddGaps(const Response& page, Response* all) {
  const auto place = [](const v1::StatisticsLost& gap) {
    return std::make_tuple(gap.first_step(), gap.last_step(), gap.reason());
  };
  std::set<std::tuple<int64_t, int64_t, std::string>> told;
  for (const v1::StatisticsLost& gap : all->gaps()) told.insert(place(gap));
  for (const v1::StatisticsLost& gap : page.gaps()) {
    if (told.insert(place(gap)).second) *all->add_gaps() = gap;
  }
  std::stable_sort(all->mutable_gaps()->begin(), all->mutable_gaps()->end(),
                   [](const auto& a, const auto& b) { return a.first_step() < b.first_step(); });
}

// ABORTED: the points have changed between two pages.
absl::StatusOr<Response> ReadPages(const Session& session, v1::QueryStatisticsRequest request) {
  Response all;
  do {
    request.set_page_token(all.next_page_token());
    absl::StatusOr<Response> page =
        session.connection().Call(session.connection().watches(), &v1::WatchService::StubInterface::QueryStatistics,
                                  request, client::Repeat::kWhenUnavailable);
    if (!page.ok()) return page;
    if (request.page_token().empty()) {
      all = *std::move(page);
      continue;
    }
    // A page of histograms alone has no points.
    if (page->series_size() > 0 && !HasSamePoints(all, *page)) {
      return absl::AbortedError("what is stored changes faster than it can be read");
    }
    all.mutable_series()->MergeFrom(page->series());
    all.mutable_histograms()->MergeFrom(page->histograms());
    AddGaps(*page, &all);
    all.set_next_page_token(page->next_page_token());
  } while (!all.next_page_token().empty() && all.histograms_size() < kMostHistograms);
  return all;
}

}  // namespace

absl::StatusOr<Response> ReadStatistics(const Session& session, v1::QueryStatisticsRequest request) {
  absl::StatusOr<Response> answer;
  for (int i = 0; i < kAttempts; ++i) {
    answer = ReadPages(session, request);
    if (!absl::IsAborted(answer.status())) return answer;
  }
  return answer;
}

}  // namespace gradwatch::cli
