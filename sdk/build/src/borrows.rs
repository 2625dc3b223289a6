//! Mends a defect of componentize-qjs 0.4: it gives borrowed handles back only after the call has returned.
//!
//! The component model wants every borrow given back before a call returns, and traps otherwise; all hooks of a middleware
//! borrow `context` and `body`. The glue module that componentize-qjs links (it is made by `wit-dylib`) gives them back in
//! `cabi_post_*`, through a table of drop functions. Here each hook gets a wrapper that gives the handles back as its last
//! act, and the two entries of the table become a function that does nothing. Indices of what is there stay as they are, so
//! nothing else in the component changes. Once a release does it by itself, the glue has no such entries, this finds nothing
//! to mend, and the test that says so fails: then this file goes.

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, Encode, ExportKind, ExportSection, Function, FunctionSection,
    Instruction, Section as _,
};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, ElementItems, ElementKind, ElementSectionReader,
    ExportSectionReader, ExternalKind, FunctionSectionReader, Parser, Payload, TypeRef,
};

/// The resources that hooks borrow.
const EXCHANGE: &str = "fairlead:middleware/exchange@";

/// The hooks, and where among their flat parameters the handles of `context` and `body` stand: after method (2), target (3)
/// and size (1).
const HOOKS: [(&str, u32, Option<u32>); 4] =
    [("on-request", 6, Some(7)), ("on-response", 6, Some(7)), ("on-error", 6, None), ("on-event", 6, Some(7))];

/// Identifiers of sections.
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const FUNCTION: u8 = 3;
const EXPORT: u8 = 7;
const ELEMENT: u8 = 9;
const CODE: u8 = 10;

/// Components in components that are looked into: componentize-qjs makes one.
const NESTED_MAX: u32 = 4;

/// Why a component cannot be mended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BorrowError {
    #[error("it cannot be read: {0}")]
    Read(#[from] BinaryReaderError),
    #[error("its glue has another shape than that of componentize-qjs 0.4: {0}")]
    Shape(&'static str),
}

/// The component, with every hook giving back what it borrowed.
pub(crate) fn end_with_the_call(component: &[u8]) -> Result<Vec<u8>, BorrowError> {
    within(component, NESTED_MAX)
}

fn within(component: &[u8], depth: u32) -> Result<Vec<u8>, BorrowError> {
    let header = component.get(..8).ok_or(BorrowError::Shape("it has no header"))?;
    let mut mended = header.to_vec();
    for (id, body) in sections(component)? {
        let other = match id {
            CORE_MODULE => glue(body)?,
            // The snapshot is a component around the one that was linked.
            COMPONENT if depth > 0 => Some(within(body, depth - 1)?),
            _ => None,
        };
        section(id, other.as_deref().unwrap_or(body), &mut mended);
    }
    Ok(mended)
}

/// The sections at the outermost level, in order, with their bodies.
fn sections(bytes: &[u8]) -> Result<Vec<(u8, &[u8])>, BorrowError> {
    let mut reader = BinaryReader::new(bytes, 0);
    reader.read_bytes(8)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let size = usize::try_from(reader.read_var_u32()?).unwrap_or(usize::MAX);
        sections.push((id, reader.read_bytes(size)?));
    }
    Ok(sections)
}

fn section(id: u8, body: &[u8], into: &mut Vec<u8>) {
    into.push(id);
    body.encode(into);
}

/// A hook that the glue exports.
struct Hook {
    name: String,
    /// Index and type of its function.
    function: u32,
    ty: u32,
    /// How many flat parameters it has, and which of them are handles.
    params: u32,
    context: u32,
    body: Option<u32>,
}

/// What matters of the glue.
struct Glue {
    /// Index and type of the functions that drop a context and a body.
    drop_context: (u32, u32),
    drop_body: (u32, u32),
    /// Index of the first function that is added: the one that does nothing. The wrappers of the hooks follow.
    added: u32,
    hooks: Vec<Hook>,
}

/// The mended glue, or nothing for every other module.
fn glue(module: &[u8]) -> Result<Option<Vec<u8>>, BorrowError> {
    let Some(glue) = Glue::read(module)? else { return Ok(None) };
    let mut mended = module.get(..8).unwrap_or_default().to_vec();
    for (id, body) in sections(module)? {
        let reader = BinaryReader::new(body, 0);
        match id {
            FUNCTION => glue.functions(FunctionSectionReader::new(reader)?)?.append_to(&mut mended),
            EXPORT => glue.exports(ExportSectionReader::new(reader)?)?.append_to(&mut mended),
            ELEMENT => glue.elements(ElementSectionReader::new(reader)?)?.append_to(&mut mended),
            CODE => glue.code(CodeSectionReader::new(reader)?)?.append_to(&mut mended),
            _ => section(id, body, &mut mended),
        }
    }
    Ok(Some(mended))
}

impl Glue {
    fn read(module: &[u8]) -> Result<Option<Self>, BorrowError> {
        // Types of all functions, imported ones first; flat parameters of all types.
        let (mut functions, mut params) = (Vec::new(), Vec::new());
        let (mut drop_context, mut drop_body, mut exported) = (None, None, Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        params.push(number(ty?.params().len()));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        let (TypeRef::Func(ty) | TypeRef::FuncExact(ty)) = import.ty else { continue };
                        let place = Some((number(functions.len()), ty));
                        match import.name {
                            "[resource-drop]context" if import.module.starts_with(EXCHANGE) => drop_context = place,
                            "[resource-drop]body" if import.module.starts_with(EXCHANGE) => drop_body = place,
                            _ => {}
                        }
                        functions.push(ty);
                    }
                }
                Payload::FunctionSection(types) => {
                    for ty in types {
                        functions.push(ty?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        exported
                            .extend(hook(export.name).map(|handles| (export.name.to_owned(), export.index, handles)));
                    }
                }
                _ => {}
            }
        }
        if exported.is_empty() {
            return Ok(None);
        }
        let (Some(drop_context), Some(drop_body)) = (drop_context, drop_body) else {
            return Err(BorrowError::Shape("it drops no handles"));
        };
        let hooks = exported.into_iter().map(|(name, function, (context, body))| {
            let ty = *functions.get(index(function))?;
            Some(Hook { name, function, ty, params: *params.get(index(ty))?, context, body })
        });
        let hooks = hooks.collect::<Option<Vec<_>>>().ok_or(BorrowError::Shape("a hook is no function"))?;
        Ok(Some(Self { drop_context, drop_body, added: number(functions.len()), hooks }))
    }

    fn functions(&self, types: FunctionSectionReader<'_>) -> Result<FunctionSection, BorrowError> {
        let mut section = FunctionSection::new();
        for ty in types {
            section.function(ty?);
        }
        section.function(self.drop_context.1);
        for hook in &self.hooks {
            section.function(hook.ty);
        }
        Ok(section)
    }

    fn exports(&self, exports: ExportSectionReader<'_>) -> Result<ExportSection, BorrowError> {
        let mut section = ExportSection::new();
        for export in exports {
            let export = export?;
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                ExternalKind::Table => ExportKind::Table,
                ExternalKind::Memory => ExportKind::Memory,
                ExternalKind::Global => ExportKind::Global,
                ExternalKind::Tag => ExportKind::Tag,
            };
            let wrapper = self.hooks.iter().zip(self.added + 1..).find(|(hook, _)| hook.name == export.name);
            section.export(export.name, kind, wrapper.map_or(export.index, |(_, wrapper)| wrapper));
        }
        Ok(section)
    }

    fn elements(&self, elements: ElementSectionReader<'_>) -> Result<ElementSection, BorrowError> {
        let mut section = ElementSection::new();
        let mut replaced = 0;
        for element in elements {
            let element = element?;
            let (ElementKind::Active { table_index, offset_expr }, ElementItems::Functions(items)) =
                (element.kind, element.items)
            else {
                return Err(BorrowError::Shape("its table is not filled with functions"));
            };
            let mut functions = Vec::new();
            for function in items {
                let function = function?;
                let is_drop = function == self.drop_context.0 || function == self.drop_body.0;
                replaced += u32::from(is_drop);
                functions.push(if is_drop { self.added } else { function });
            }
            let mut offset = offset_expr.get_binary_reader();
            // Without its `end`, which the encoder writes itself.
            let length = offset.bytes_remaining().saturating_sub(1);
            let offset = ConstExpr::raw(offset.read_bytes(length)?.iter().copied());
            section.active(table_index, &offset, Elements::Functions(functions.into()));
        }
        if replaced == 2 { Ok(section) } else { Err(BorrowError::Shape("its table does not name both drop functions")) }
    }

    fn code(&self, bodies: CodeSectionReader<'_>) -> Result<CodeSection, BorrowError> {
        let mut section = CodeSection::new();
        for body in bodies {
            section.raw(body?.as_bytes());
        }
        let mut idle = Function::new([]);
        idle.instruction(&Instruction::End);
        section.function(&idle);
        for hook in &self.hooks {
            section.function(&self.wrapper(hook));
        }
        Ok(section)
    }

    /// Calls the hook, and gives back what it borrowed; its result stays on the stack.
    fn wrapper(&self, hook: &Hook) -> Function {
        let mut wrapper = Function::new([]);
        for param in 0..hook.params {
            wrapper.instruction(&Instruction::LocalGet(param));
        }
        wrapper.instruction(&Instruction::Call(hook.function));
        wrapper.instruction(&Instruction::LocalGet(hook.context)).instruction(&Instruction::Call(self.drop_context.0));
        if let Some(body) = hook.body {
            wrapper.instruction(&Instruction::LocalGet(body)).instruction(&Instruction::Call(self.drop_body.0));
        }
        wrapper.instruction(&Instruction::End);
        wrapper
    }
}

/// Where the handles of a hook stand, if an export is one.
fn hook(export: &str) -> Option<(u32, Option<u32>)> {
    let name = export.strip_prefix("fairlead:middleware/hooks@")?.split_once('#')?.1;
    HOOKS.iter().find(|(hook, _, _)| *hook == name).map(|(_, context, body)| (*context, *body))
}

/// An index, as Wasm counts: no module has four thousand million functions.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_such_glue_stays_as_it_is() {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        section(CORE_MODULE, b"\0asm\x01\0\0\0", &mut component);
        assert_eq!(end_with_the_call(&component).unwrap(), component);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\x01\xff"] {
            assert!(end_with_the_call(bytes).is_err());
        }
    }
}
