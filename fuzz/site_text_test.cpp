#include "fuzz/site_text.h"

#include <gtest/gtest.h>

#include <vector>

namespace nmrfuzz::fuzz {
namespace {

TEST(SiteText, IsATableWithASum) {
  const std::vector<SiteReport> sites = {{"ExAllocatePool2", "Attach a.c:7", 16, 0, 2},
                                         {"IoCreateDevice", "Go b.c:12", 8, 3, 0}};
  EXPECT_EQ(sites_text(sites),
            "\n"
            "call             from          failed  findings  in pairs\n"
            "ExAllocatePool2  Attach a.c:7      16  none      2\n"
            "IoCreateDevice   Go b.c:12          8  3         none\n"
            "2 call sites failed, 1 survived\n");
}

TEST(SiteText, NoSitesSayNothing) { EXPECT_EQ(sites_text({}), ""); }

}  // namespace
}  // namespace nmrfuzz::fuzz
