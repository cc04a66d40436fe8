package kibosim

import (
	"cmp"
	"net/http"
)

type (
	nameValue struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	errorItem struct {
		ApplicationName     string      `json:"applicationName"`
		ErrorCode           string      `json:"errorCode"`
		Message             string      `json:"message"`
		AdditionalErrorData []nameValue `json:"additionalErrorData"`
	}
	// errorBody is Kibo's error object; every field is optional.
	errorBody struct {
		ApplicationName     string           `json:"applicationName,omitempty"`
		ErrorCode           string           `json:"errorCode,omitempty"`
		Message             string           `json:"message,omitempty"`
		AdditionalErrorData []nameValue      `json:"additionalErrorData,omitempty"`
		Items               []errorItem      `json:"items,omitempty"`
		ExceptionDetail     *exceptionDetail `json:"exceptionDetail,omitempty"`
	}
	// exceptionDetail is what Kibo leaks about itself. It is here so that a
	// client can be caught showing it to somebody.
	exceptionDetail struct {
		Type       string `json:"type"`
		Message    string `json:"message"`
		Source     string `json:"source"`
		StackTrace string `json:"stackTrace"`
		TargetSite string `json:"targetSite"`
	}
)

// fail is an error in the flat layout, with code and message at the top.
func (c *call) fail(status int, application, code, message, reason string) reply {
	rp := jsonReply(status, errorBody{
		ApplicationName: application,
		ErrorCode:       code,
		Message:         message,
		AdditionalErrorData: []nameValue{
			{"OperationName", c.r.Method + c.r.URL.RequestURI()},
		},
		ExceptionDetail: exception("VaeException", message),
	})
	rp.reason = reason
	return rp
}

// unauthorized is the front proxy's refusal of an app token: the nested
// layout, where only items[0] has a code.
func (c *call) unauthorized(reason string) reply {
	const message = "The bearer token is missing, malformed or expired."
	rp := jsonReply(http.StatusUnauthorized, errorBody{
		Items: []errorItem{{
			ApplicationName:     "ReverseProxy",
			ErrorCode:           "UNAUTHORIZED",
			Message:             message,
			AdditionalErrorData: []nameValue{{"OperationName", c.r.Method + c.r.URL.RequestURI()}},
		}},
		ExceptionDetail: exception("VaeUnAuthorizedException", message),
	})
	rp.reason = reason
	return rp
}

// missing says that a parameter is absent or senseless.
func (c *call) missing(parameter string) reply {
	rp := jsonReply(http.StatusBadRequest, errorBody{
		ApplicationName:     "Customer",
		ErrorCode:           "MISSING_OR_INVALID_PARAMETER",
		Message:             "Missing or invalid parameter: " + parameter,
		AdditionalErrorData: []nameValue{{"ParameterName", parameter}},
	})
	rp.reason = "missing_" + parameter
	return rp
}

// reject refuses a code, password or e-mail address. The caller cannot tell
// which was wrong, or why; only the log can.
func (c *call) reject(reason string) reply {
	return c.fail(cmp.Or(c.sw.RejectStatus, http.StatusUnauthorized), "Customer",
		cmp.Or(c.sw.RejectCode, "INVALID_CREDENTIALS"), "Login failed.", reason)
}

func (c *call) lockedOut() reply {
	return c.fail(cmp.Or(c.sw.LockedStatus, http.StatusUnauthorized), "Customer",
		cmp.Or(c.sw.LockedCode, "ACCOUNT_LOCKED"), "The account is locked.", "locked")
}

func (c *call) otpOff() reply {
	return c.fail(cmp.Or(c.sw.OTPOffStatus, http.StatusForbidden), "Customer", "OTP_LOGIN_NOT_ALLOWED",
		"Login by one-time code is not allowed.", "otp_off")
}

func exception(kind, message string) *exceptionDetail {
	return &exceptionDetail{
		Type:       "Mozu.Core.Exceptions." + kind,
		Message:    message,
		Source:     "Mozu.Core.Api",
		StackTrace: "   at Mozu.Core.Api.Handlers.SimulatedHandler.Invoke(HttpContext context)",
		TargetSite: "Void Invoke(HttpContext)",
	}
}
