"""The work under DVCLive."""

import work
from dvclive import Live

with Live(save_dvc_exp=False) as live:
    live.log_metric("score", work.main())
