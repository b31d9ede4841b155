"""The work under MLflow, with autologging on."""

import mlflow
import work

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.autolog(silent=True)
with mlflow.start_run():
    work.main()
