import neptune
import neptune.integrations.sklearn as npt_utils
from sklearn.datasets import load_iris
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.model_selection import train_test_split

features, target = load_iris(return_X_y=True)
parts = train_test_split(features, target, random_state=0)
X_train, X_test, y_train, y_test = parts

run = neptune.init_run(project="packages", name="sklearn")
classifier = RandomForestClassifier(n_estimators=10, random_state=0).fit(X_train, y_train)
run["cls_summary"] = npt_utils.create_classifier_summary(classifier, X_train, X_test, y_train, y_test)
regressor = RandomForestRegressor(n_estimators=10, random_state=0).fit(X_train, y_train)
run["rfr_summary"] = npt_utils.create_regressor_summary(regressor, X_train, X_test, y_train, y_test)
run["learning_curve"] = npt_utils.create_learning_curve_chart(regressor, X_train, y_train)
run["precision_recall"] = npt_utils.create_precision_recall_chart(classifier, X_test, y_test)
run["kmeans/labels"] = npt_utils.get_cluster_labels(KMeans(n_clusters=3, n_init=2), X=features)
run["params"] = npt_utils.get_estimator_params(classifier)
run["model"] = npt_utils.get_pickled_model(classifier)
run.stop()
