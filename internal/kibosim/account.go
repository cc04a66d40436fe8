package kibosim

import (
	"fmt"
	"strings"
	"time"
)

// hugeNotes makes an account of about 2 MB: 64 notes of 32 kB.
const hugeNotes = 64

type (
	// wireAccount is Kibo's CustomerAccount, the fields that a gateway might
	// read and some that it must not show.
	wireAccount struct {
		ID                    int         `json:"id"`
		UserID                string      `json:"userId"`
		UserName              string      `json:"userName"`
		EmailAddress          string      `json:"emailAddress"`
		FirstName             string      `json:"firstName"`
		LastName              string      `json:"lastName"`
		AccountType           string      `json:"accountType"`
		CustomerSet           string      `json:"customerSet"`
		ExternalID            string      `json:"externalId"`
		CompanyOrOrganization string      `json:"companyOrOrganization"`
		LocaleCode            string      `json:"localeCode"`
		Segments              []segmentOf `json:"segments"`
		IsActive              bool        `json:"isActive"`
		IsAnonymous           bool        `json:"isAnonymous"`
		IsLocked              bool        `json:"isLocked"`
		MigrationRequired     bool        `json:"migrationRequired"`
		AcceptsMarketing      bool        `json:"acceptsMarketing"`
		TaxExempt             bool        `json:"taxExempt"`
		TaxID                 *string     `json:"taxId"`
		HasExternalPassword   bool        `json:"hasExternalPassword"`
		Last2FADate           *string     `json:"last2FaDate"`
		Contacts              []contact   `json:"contacts"`
		Attributes            []attribute `json:"attributes"`
		Notes                 []note      `json:"notes"`
		CommerceSummary       summary     `json:"commerceSummary"`
		AuditInfo             audit       `json:"auditInfo"`
	}
	segmentOf struct {
		ID   int    `json:"id"`
		Code string `json:"code"`
		Name string `json:"name"`
	}
	contact struct {
		Email       string `json:"email"`
		FirstName   string `json:"firstName"`
		LastName    string `json:"lastNameOrSurname"`
		PhoneNumber string `json:"phoneNumber"`
		Address     string `json:"address1"`
	}
	attribute struct {
		FullyQualifiedName string   `json:"fullyQualifiedName"`
		Values             []string `json:"values"`
	}
	note struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
	}
	summary struct {
		OrderCount int `json:"orderCount"`
		VisitCount int `json:"visitsCount"`
	}
	audit struct {
		CreateDate string `json:"createDate"`
		UpdateDate string `json:"updateDate"`
	}
)

// account returns the customer record that comes with a ticket. Contacts and
// notes hold text that must never turn up on the shopper's side.
func account(c *Customer, now time.Time, huge bool) *wireAccount {
	a := &wireAccount{
		ID: c.AccountID, UserID: c.userID.String(), UserName: c.Email, EmailAddress: c.Email,
		FirstName: c.FirstName, LastName: c.LastName, AccountType: c.AccountType, CustomerSet: "Default",
		ExternalID: fmt.Sprintf("LEGACY-%d", c.AccountID), CompanyOrOrganization: c.Company,
		LocaleCode: c.Locale, Segments: segments(c),
		IsActive: !c.Inactive, IsAnonymous: c.anonymous, IsLocked: c.Locked,
		Contacts: []contact{}, Attributes: []attribute{}, Notes: []note{},
		AuditInfo: audit{CreateDate: "2021-03-04T05:06:07.8901234Z", UpdateDate: now.Format(time.RFC3339Nano)},
	}
	if c.anonymous {
		return a
	}
	a.CommerceSummary = summary{OrderCount: 3, VisitCount: 14}
	a.Attributes = []attribute{{"tenant~loyalty-tier", []string{"silver"}}}
	a.Contacts = []contact{{c.Email, c.FirstName, c.LastName, "555-0100", "1 Private Lane"}}
	a.Notes = []note{{1, "Internal note: never show this to anybody."}}
	if huge {
		for i := range hugeNotes {
			a.Notes = append(a.Notes, note{i + 2, strings.Repeat("lorem ipsum dolo", 2<<10)})
		}
	}
	return a
}

func segments(c *Customer) []segmentOf {
	list := make([]segmentOf, 0, len(c.Segments))
	for i, code := range c.Segments {
		list = append(list, segmentOf{ID: 10 + i, Code: code, Name: "Segment " + code})
	}
	return list
}
