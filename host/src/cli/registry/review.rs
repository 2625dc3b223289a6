//! `fairlead registry submit|review|approve|deny|revoke`: asking for trust, and giving it.

use fairlead_core::document::Difference;
use fairlead_registry::review::Standing;
use jiff::Timestamp;

use super::Of;
use crate::api::types::registry::{AuditedStep, DecideReview, ReviewAudit, ReviewInfo, ReviewList, SubmitReview};
use crate::cli::output::{Cell, Format, age};
use crate::cli::{Context, Failure};

const ALL: &str = "/api/v1beta/registry/reviews";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Submit {
    /// `namespace/name[@version]`, or the end of a name where it is unique
    #[arg(value_name = "ENTRY")]
    entry: String,
    /// What it is wanted for
    #[arg(long, short, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    of: Of,
}

/// Which review; all when none is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    /// Number of a review: what it would change, and what was done
    #[arg(value_name = "ID")]
    id: Option<u64>,
    #[command(flatten)]
    of: Of,
}

/// What is decided.
#[derive(Debug, clap::Args)]
pub(crate) struct Decide {
    /// Number of the review
    #[arg(value_name = "ID")]
    id: u64,
    /// Why
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    of: Of,
}

pub(super) async fn submit(args: Submit, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let request = SubmitReview { tenant: args.of.tenant, entry: args.entry, reason: args.reason };
    let review: ReviewInfo = client.post(ALL, Some(&request)).await?;
    told(&review, context)
}

pub(super) async fn decide(args: Decide, to: Standing, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let request = DecideReview { tenant: args.of.tenant, to, reason: args.reason };
    let review: ReviewInfo = client.post(&format!("{ALL}/{}", args.id), Some(&request)).await?;
    told(&review, context)
}

pub(super) async fn review(args: Review, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let tenant = &args.of.tenant;
    let Some(id) = args.id else {
        let list: ReviewList = client.get(&format!("{ALL}?tenant={tenant}")).await?;
        return table(&list.reviews, context);
    };
    let review: ReviewInfo = client.get(&format!("{ALL}/{id}?tenant={tenant}")).await?;
    if context.output.format == Format::Json {
        return context.output.json(&review);
    }
    let against =
        review.against.as_ref().map_or_else(|| "nothing approved before".to_owned(), |it| format!("{it}, approved"));
    context
        .output
        .line(&format!("{}@{} of {}, held against {against}", review.name, review.version, review.registry))?;
    for Difference { pointer, before, after } in &review.differences {
        let text =
            |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        context.output.line(&format!("  {pointer}: {} -> {}", text(before), text(after)))?;
    }
    for step in &review.steps {
        let reason = if step.reason.is_empty() { String::new() } else { format!(": {}", step.reason) };
        context.output.line(&format!("{} {} by {}{reason}", step.at, step.to.name(), step.by))?;
    }
    Ok(())
}

/// Every step of every review, in order.
pub(super) async fn audit(of: Of, context: &Context) -> Result<(), Failure> {
    let client = context.daemon().await?;
    let audit: ReviewAudit = client.get(&format!("/api/v1beta/registry/audit?tenant={}", of.tenant)).await?;
    if context.output.format == Format::Json {
        return context.output.json(&audit.steps);
    }
    let row = |step: &AuditedStep| -> Vec<Cell> {
        vec![
            step.at.to_string().into(),
            step.review.to_string().into(),
            format!("{}@{}", step.name, step.version).into(),
            step.to.name().into(),
            step.by.as_str().into(),
            step.reason.as_str().into(),
        ]
    };
    let rows: Vec<_> = audit.steps.iter().map(row).collect();
    context.output.table(&["AT", "ID", "ENTRY", "STANDING", "BY", "REASON"], &rows)
}

fn told(review: &ReviewInfo, context: &Context) -> Result<(), Failure> {
    match context.output.format {
        Format::Json => context.output.json(review),
        Format::Text => {
            let line =
                format!("review {}: {}@{} is {}", review.id, review.name, review.version, review.standing.name());
            context.output.line(&line)
        }
    }
}

fn table(reviews: &[ReviewInfo], context: &Context) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        return context.output.json(&reviews);
    }
    if reviews.is_empty() {
        context.output.note("nothing was requested; `fairlead registry submit` asks for an entry to be trusted");
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |review: &ReviewInfo| -> Vec<Cell> {
        let first = review.steps.first();
        vec![
            review.id.to_string().into(),
            review.name.as_str().into(),
            review.version.as_str().into(),
            review.standing.name().into(),
            first.map_or_else(String::new, |step| step.by.clone()).into(),
            first.map_or_else(String::new, |step| age(step.at, now)).into(),
            first.map_or_else(String::new, |step| step.reason.clone()).into(),
        ]
    };
    let rows: Vec<_> = reviews.iter().map(row).collect();
    context.output.table(&["ID", "NAME", "VERSION", "STANDING", "BY", "AGE", "REASON"], &rows)
}
