"""The work under Weights & Biases, offline."""

import wandb
import work

run = wandb.init(project="work", mode="offline", save_code=True)
run.log({"score": work.main()})
run.finish()
