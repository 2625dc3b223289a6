//! Helm, for the tests of the chart.

use std::path::PathBuf;

use anyhow::Context;

use crate::{go, workspace};

/// Builds it, and gives the variable by which tests find it.
pub(crate) fn build() -> anyhow::Result<(&'static str, PathBuf)> {
    const PACKAGE: &str = "helm.sh/helm/v3";
    let module = go::Module::read("helm")?;
    // What a chart may ask of a cluster where there is none: as its makers build it, that of the library that it speaks with.
    let minor = module.version("k8s.io/client-go")?.split('.').nth(1).context("a version of Kubernetes")?;
    let told = |package: &str, name: &str, value: &str| (format!("{PACKAGE}/pkg/{package}.{name}"), value.to_owned());
    let values: Vec<_> = ["lint/rules", "chartutil"]
        .iter()
        .flat_map(|package| [told(package, "k8sVersionMajor", "1"), told(package, "k8sVersionMinor", minor)])
        .collect();
    let directory = workspace::target().join("helm");
    module.build(&directory, &[format!("{PACKAGE}/cmd/helm")], &values)?;
    Ok(("FAIRLEAD_TEST_HELM", directory.join("bin/helm")))
}
