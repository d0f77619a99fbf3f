defmodule DSPex.Wire.Json.Library do
  @moduledoc """
  A reader of JSON that keeps the order of members: what each of the libraries is made to be.
  """

  @typedoc "JSON as read: objects are `{pairs}` in the order of the text, null is `nil`."
  @type raw :: nil | boolean | number | String.t() | [raw] | {[{String.t(), raw}]}

  @doc "Whether the library can be used here."
  @callback available?() :: boolean

  @doc "Reads a text; the error says what is wrong with it."
  @callback decode(binary) :: {:ok, raw} | {:error, String.t()}
end
