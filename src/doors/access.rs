//! Who may do what: roles, the tenants of a principal, and the one question that every request is
//! asked.

use std::sync::Arc;

use model::TenantId;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Permission {
    /// Anyone may: whether the server lives.
    Open,
    /// Asks for a tenant's data.
    Read,
    /// Brings data of a tenant.
    Write,
    /// Looks at or changes the server as a whole, all tenants at once.
    Admin,
}

impl Permission {
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Permission::Open => "open",
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Admin => "admin",
        }
    }
}

/// What a principal may do. `read` asks, `write` brings and does not ask, `admin` does everything:
/// the token that lies on every host must not show what the other hosts have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    read: bool,
    write: bool,
    admin: bool,
}

impl Roles {
    pub(crate) const ALL: Roles = Roles { read: true, write: true, admin: true };

    /// `read`, `write`, `read,write` or `admin`.
    ///
    /// Errors: any other word, or none.
    pub fn parse(text: &str) -> Result<Roles, String> {
        let mut roles = Roles::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "read" => roles.read = true,
                "write" => roles.write = true,
                "admin" => roles = Roles::ALL,
                other => {
                    return Err(format!("{other:?} is no role; there are read, write and admin"));
                }
            }
        }
        Ok(roles)
    }

    /// Both together.
    pub(crate) fn join(self, other: Roles) -> Roles {
        Roles {
            read: self.read || other.read,
            write: self.write || other.write,
            admin: self.admin || other.admin,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Roles::default()
    }

    pub(crate) fn is_admin(self) -> bool {
        self.admin
    }

    fn allow(self, permission: Permission) -> bool {
        match permission {
            Permission::Open => true,
            Permission::Read => self.read,
            Permission::Write => self.write,
            Permission::Admin => self.admin,
        }
    }
}

/// The tenants of a principal, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Taken where a request names none.
    first: TenantId,
    others: Vec<TenantId>,
    every: bool,
}

impl Scope {
    /// All tenants.
    #[must_use]
    pub fn every() -> Scope {
        Scope { first: TenantId::default(), others: Vec::new(), every: true }
    }

    /// Names of tenants; `*` stands for all. The first name is taken where a request names none.
    ///
    /// Errors: a bad name, or none at all.
    pub fn parse<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Scope, String> {
        let mut tenants = Vec::new();
        let mut every = false;
        for name in names.into_iter().map(str::trim) {
            if name == "*" {
                every = true;
            } else {
                tenants.push(TenantId::parse(name).map_err(|error| format!("{name:?}: {error}"))?);
            }
        }
        let mut tenants = tenants.into_iter();
        let first = match tenants.next() {
            Some(first) => first,
            None if every => TenantId::default(),
            None => return Err("no tenant is named; \"*\" stands for all".to_owned()),
        };
        Ok(Scope { first, others: tenants.collect(), every })
    }

    pub(crate) fn is_every(&self) -> bool {
        self.every
    }

    pub(crate) fn first(&self) -> &TenantId {
        &self.first
    }

    /// Whether a tenant is one of these.
    pub(crate) fn holds(&self, tenant: &str) -> bool {
        self.every
            || self.first.as_str() == tenant
            || self.others.iter().any(|known| known.as_str() == tenant)
    }
}

/// What somebody was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub roles: Roles,
    pub scope: Scope,
}

/// Somebody who has shown who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Kind and name, for the audit log: `user:ann`, `token:collector`.
    pub(crate) name: Arc<str>,
    pub(crate) grant: Grant,
}

impl Principal {
    /// Whoever comes to a server that asks nobody.
    pub(crate) fn anyone() -> Principal {
        let grant = Grant { roles: Roles::ALL, scope: Scope::every() };
        Principal { name: "anyone".into(), grant }
    }
}

/// Why a principal may not do what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    Role,
    Tenant,
}

/// The one question: may `principal` do what `permission` says, to the data of `tenant`, or of its
/// own first tenant where none is named? What touches all tenants needs all of them.
///
/// Errors: what is missing.
pub(crate) fn authorize(
    principal: &Principal,
    permission: Permission,
    tenant: Option<&str>,
) -> Result<(), Denied> {
    let Grant { roles, scope } = &principal.grant;
    if !roles.allow(permission) {
        return Err(Denied::Role);
    }
    let in_scope = match (permission, tenant) {
        (Permission::Open, _) => true,
        (Permission::Admin, _) => scope.is_every(),
        (Permission::Read | Permission::Write, None) => true,
        (Permission::Read | Permission::Write, Some(tenant)) => scope.holds(tenant),
    };
    if in_scope { Ok(()) } else { Err(Denied::Tenant) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(roles: &str, tenants: &[&str]) -> Principal {
        let scope = Scope::parse(tenants.iter().copied()).unwrap();
        Principal { name: "x".into(), grant: Grant { roles: Roles::parse(roles).unwrap(), scope } }
    }

    #[test]
    fn each_role_does_its_own_and_admin_does_all() {
        let permissions =
            [Permission::Open, Permission::Read, Permission::Write, Permission::Admin];
        for (roles, want) in [
            ("read", [true, true, false, false]),
            ("write", [true, false, true, false]),
            ("read,write", [true, true, true, false]),
            ("admin", [true, true, true, true]),
        ] {
            let principal = principal(roles, &["*"]);
            let may = permissions.map(|permission| authorize(&principal, permission, None).is_ok());
            assert_eq!(may, want, "{roles}");
        }
    }

    #[test]
    fn tenants_are_those_that_were_given() {
        let some = principal("read", &["a", "b"]);
        assert_eq!(authorize(&some, Permission::Read, Some("b")), Ok(()));
        assert_eq!(authorize(&some, Permission::Read, Some("c")), Err(Denied::Tenant));
        assert_eq!(authorize(&some, Permission::Read, Some("*")), Err(Denied::Tenant));
        assert_eq!(some.grant.scope.first().as_str(), "a");
        assert_eq!(authorize(&principal("read", &["*"]), Permission::Read, Some("c")), Ok(()));
        let of_one = principal("admin", &["a"]);
        assert_eq!(authorize(&of_one, Permission::Admin, Some("a")), Err(Denied::Tenant));
    }

    #[test]
    fn what_is_no_role_or_tenant_is_refused() {
        assert!(Roles::parse("").is_err() && Roles::parse("root").is_err());
        assert!(Scope::parse([]).is_err() && Scope::parse([".."]).is_err());
    }
}
