defmodule DSPex.Wire.Attachment do
  @moduledoc false
  # Stands in a value for bytes that travel as a part of a multipart body.

  @enforce_keys [:part]
  defstruct [:part]

  @type t :: %__MODULE__{part: pos_integer}
end
