//! What an expression is made of, told from minijinja's syntax tree without evaluating it.
//!
//! Minijinja lists the variables of a template too, but leaves some out (what is sliced, the
//! filter of a block) and takes a method for an attribute. What a step refers to decides which
//! outputs its expressions are given, so here every node is visited.

use super::code::Code;
use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Filter, Stmt, UnaryOpKind};
use minijinja::machinery::{parse, parse_expr};
use std::collections::BTreeSet;
use std::fmt;

/// What a string of a manifest is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Every place that looks at a variable of the scope.
    pub mentions: Vec<Mention>,
    /// Every filter, test, function and method it uses.
    pub uses: Vec<Use>,
    /// Whether evaluating it only walks data and puts text together.
    pub simple: bool,
    /// What kind of value it comes to.
    pub kind: Kind,
}

/// What evaluating comes to, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What one path leads to.
    Path,
    Text,
    #[default]
    Unknown,
}

/// One place that looks at a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The variable, then its attributes and constant subscripts.
    pub path: Vec<Part>,
    /// Whether it goes on with what only evaluating tells: `x[y]`, `x[1:]`, `x.method()`.
    pub open: bool,
    /// Whether it is put in whole: alone in its braces, whatever text is around them.
    pub whole: bool,
}

/// One element of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Name(String),
    Index(i64),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Name(name) => f.write_str(name),
            Part::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Something that is called by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Filter(String),
    Test(String),
    /// With the number of its arguments, where that is known.
    Function(String, Option<usize>),
    Method(String),
}

/// Read what minijinja is given.
///
/// # Errors
/// What is no Jinja.
pub(super) fn outline(code: &Code<'_>) -> Result<Outline, minijinja::Error> {
    let mut walk = Walk::default();
    walk.out.simple = true;
    match code {
        Code::Expression(code) => {
            let expr = parse_expr(code)?;
            walk.out.kind = match path(&expr) {
                Some(_) => Kind::Path,
                None if is_concat(&expr) => Kind::Text,
                None => Kind::Unknown,
            };
            walk.emitted(&expr);
        }
        Code::Template(code) => {
            walk.out.kind = Kind::Text;
            walk.stmt(&parse(code, "<string>", Default::default())?);
        }
    }
    Ok(walk.out)
}

#[derive(Default)]
struct Walk<'a> {
    out: Outline,
    /// The variables that blocks make, innermost last.
    locals: Vec<BTreeSet<&'a str>>,
    whole: bool,
}

impl<'a> Walk<'a> {
    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|names| names.contains(name))
    }

    fn assign(&mut self, target: &Expr<'a>) {
        match target {
            Expr::Var(var) => self.local(var.id),
            Expr::List(list) => list.items.iter().for_each(|item| self.assign(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assign(item)),
            // `{% set namespace.x = … %}` makes no variable.
            other => self.expr(other),
        }
    }

    fn local(&mut self, name: &'a str) {
        self.locals.last_mut().expect("a block is in a scope").insert(name);
    }

    fn scoped(&mut self, body: impl FnOnce(&mut Self)) {
        self.locals.push(BTreeSet::new());
        body(self);
        self.locals.pop();
    }

    fn body(&mut self, body: &[Stmt<'a>]) {
        self.scoped(|walk| body.iter().for_each(|stmt| walk.stmt(stmt)));
    }

    /// What is put into the text, or is all there is.
    fn emitted(&mut self, expr: &Expr<'a>) {
        // Whatever a block does with what is in it, a secret may not survive it.
        self.whole = self.locals.len() <= 1 && path(expr).is_some();
        self.expr(expr);
        self.whole = false;
    }

    fn stmt(&mut self, stmt: &Stmt<'a>) {
        self.out.simple &= matches!(stmt, Stmt::Template(_) | Stmt::EmitExpr(_) | Stmt::EmitRaw(_));
        match stmt {
            Stmt::Template(all) => self.body(&all.children),
            Stmt::EmitExpr(emit) => self.emitted(&emit.expr),
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(each) => {
                self.expr(&each.iter);
                self.scoped(|walk| {
                    walk.assign(&each.target);
                    walk.local("loop");
                    each.filter_expr.iter().for_each(|expr| walk.expr(expr));
                    walk.body(&each.body);
                });
                self.body(&each.else_body);
            }
            Stmt::IfCond(cond) => {
                self.expr(&cond.expr);
                self.body(&cond.true_body);
                self.body(&cond.false_body);
            }
            Stmt::WithBlock(with) => self.scoped(|walk| {
                for (target, expr) in &with.assignments {
                    walk.expr(expr);
                    walk.assign(target);
                }
                walk.body(&with.body);
            }),
            Stmt::Set(set) => {
                self.expr(&set.expr);
                self.assign(&set.target);
            }
            Stmt::SetBlock(set) => {
                set.filter.iter().for_each(|filter| self.expr(filter));
                self.body(&set.body);
                self.assign(&set.target);
            }
            Stmt::AutoEscape(escape) => {
                self.expr(&escape.enabled);
                self.body(&escape.body);
            }
            Stmt::FilterBlock(block) => {
                self.expr(&block.filter);
                self.body(&block.body);
            }
            Stmt::Do(call) => self.call(&call.call),
            // No manifest with one of these is valid.
            Stmt::Block(block) => self.body(&block.body),
            Stmt::Import(import) => self.expr(&import.expr),
            Stmt::FromImport(import) => self.expr(&import.expr),
            Stmt::Extends(extends) => self.expr(&extends.name),
            Stmt::Include(include) => self.expr(&include.name),
        }
    }

    fn expr(&mut self, expr: &Expr<'a>) {
        self.out.simple &= is_simple(expr);
        match expr {
            Expr::Const(_) => {}
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.follow(expr, false),
            Expr::BinOp(op) => {
                self.expr(&op.left);
                self.expr(&op.right);
            }
            Expr::Slice(slice) => {
                self.follow(&slice.expr, true);
                let parts = [&slice.start, &slice.stop, &slice.step];
                parts.into_iter().flatten().for_each(|part| self.expr(part));
            }
            Expr::UnaryOp(op) => self.expr(&op.expr),
            Expr::Compare(compare) => {
                self.expr(&compare.expr);
                compare.ops.iter().for_each(|op| self.expr(&op.expr));
            }
            Expr::IfExpr(cond) => {
                self.expr(&cond.test_expr);
                self.expr(&cond.true_expr);
                cond.false_expr.iter().for_each(|expr| self.expr(expr));
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => {
                self.out.uses.push(Use::Test(test.name.to_owned()));
                self.expr(&test.expr);
                self.arguments(&test.args);
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.items.iter().for_each(|item| self.expr(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expr(item)),
            Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|item| self.expr(item)),
        }
    }

    fn filter(&mut self, filter: &Filter<'a>) {
        self.out.uses.push(Use::Filter(filter.name.to_owned()));
        filter.expr.iter().for_each(|expr| self.expr(expr));
        self.arguments(&filter.args);
        // Some filters take another one's name, or a test's, as a string.
        let named = |at: usize| match filter.args.get(at) {
            Some(CallArg::Pos(Expr::Const(name))) => name.value.as_str().map(str::to_owned),
            _ => None,
        };
        self.out.uses.extend(match filter.name {
            "map" => named(0).map(Use::Filter),
            "select" | "reject" => named(0).map(Use::Test),
            "selectattr" | "rejectattr" => named(1).map(Use::Test),
            _ => None,
        });
    }

    fn call(&mut self, call: &Call<'a>) {
        let is_position = |arg: &CallArg<'_>| matches!(arg, CallArg::Pos(_));
        let count = call.args.iter().all(is_position).then_some(call.args.len());
        match &call.expr {
            Expr::Var(var) if self.is_local(var.id) => {}
            Expr::Var(var) => self.out.uses.push(Use::Function(var.id.to_owned(), count)),
            callee => match path(callee) {
                // `loop.cycle()` is a method, and what is made by a block may be anything.
                Some((root, mut parts)) if !self.is_local(root) => {
                    let name = parts.pop().map_or_else(|| root.to_owned(), |part| part.to_string());
                    self.out.uses.push(Use::Method(name));
                    self.mention(root, &parts, true);
                }
                _ => match callee {
                    Expr::GetAttr(attr) => self.follow(&attr.expr, true),
                    _ => self.expr(callee),
                },
            },
        }
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[CallArg<'a>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(expr)
                | CallArg::Kwarg(_, expr)
                | CallArg::PosSplat(expr)
                | CallArg::KwargSplat(expr) => self.expr(expr),
            }
        }
    }

    /// A path, or what a path that is not all constant begins with.
    fn follow(&mut self, expr: &Expr<'a>, open: bool) {
        if let Some((root, parts)) = path(expr) {
            return self.mention(root, &parts, open);
        }
        self.out.simple &= is_simple(expr);
        match expr {
            Expr::GetAttr(attr) => self.follow(&attr.expr, true),
            Expr::GetItem(item) => {
                self.follow(&item.expr, true);
                self.expr(&item.subscript_expr);
            }
            other => self.expr(other),
        }
    }

    fn mention(&mut self, root: &str, parts: &[Part], open: bool) {
        if self.is_local(root) {
            return;
        }
        let root = [Part::Name(root.to_owned())];
        let path = root.iter().chain(parts).cloned().collect();
        self.out.mentions.push(Mention { path, open, whole: self.whole });
    }
}

/// The variable that a path begins with, and its parts if each is constant.
fn path<'a>(mut expr: &Expr<'a>) -> Option<(&'a str, Vec<Part>)> {
    let mut parts = vec![];
    loop {
        match expr {
            Expr::Var(var) => {
                parts.reverse();
                return Some((var.id, parts));
            }
            Expr::GetAttr(attr) => {
                parts.push(Part::Name(attr.name.to_owned()));
                expr = &attr.expr;
            }
            Expr::GetItem(item) => {
                let value = constant(&item.subscript_expr)?;
                parts.push(match value.as_str() {
                    Some(name) => Part::Name(name.to_owned()),
                    None => Part::Index(value.as_i64()?),
                });
                expr = &item.expr;
            }
            _ => return None,
        }
    }
}

/// The value of a literal, a negative number's included.
fn constant(expr: &Expr<'_>) -> Option<minijinja::Value> {
    match expr {
        Expr::Const(literal) => Some(literal.value.clone()),
        Expr::UnaryOp(op) if matches!(op.op, UnaryOpKind::Neg) => match &op.expr {
            Expr::Const(_) => expr.as_const(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the node itself is no more than a step on the way to data, or text put together.
fn is_simple(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::Var(_) | Expr::GetAttr(_) => true,
        Expr::GetItem(item) => constant(&item.subscript_expr).is_some(),
        other => is_concat(other) || constant(other).is_some(),
    }
}

fn is_concat(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::BinOp(op) if matches!(op.op, BinOpKind::Concat))
}
